"""What every store does, whatever it is made of."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from wildcast_server.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    NotFoundError,
    RangeNotSatisfiableError,
    StoreError,
)
from wildcast_server.store import (
    ByteRange,
    ObjectAttributes,
    ObjectRange,
    ObjectStore,
    ObjectStream,
    OffsetRange,
    SuffixRange,
)

PART = 5 << 20

ODD_NAMES = [
    "a b",
    "q?x",
    "#lead",
    "mid#1x",
    "p+q",
    "100%",
    "%2e%2e",
    "%2f",
    "ü",
    "u\u0308",
    "日本/図.nc",
    "'single' \"double\"",
    "a\\b",
    "<x>&{y}|^`~*",
    "x:y",
    ".hidden",
    "...",
    "\u202edlrow",
    "…/🌍",
]

BAD_KEYS = [
    "",
    "/",
    "..",
    "a/../b",
    "../b",
    ".",
    "a/./b",
    "a//b",
    "/abs",
    "end/",
    "nul\0",
    "line\nbreak",
    "cr\r",
    "\ud800",
    "n" * 1025,
]


async def _drain(stream: ObjectStream) -> bytes:
    return b"".join([chunk async for chunk in stream.chunks])


def _stream(store: ObjectStore, key: str, byte_range: ObjectRange | None = None) -> tuple[ObjectStream, bytes]:
    async def read() -> tuple[ObjectStream, bytes]:
        stream = await store.stream(key, byte_range)
        return stream, await _drain(stream)

    return asyncio.run(read())


def _keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix))


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 8192], ids=["empty", "one", "2 MiB"])
def test_what_was_put_is_got(store: ObjectStore, data: bytes):
    """An object's bytes come back as they were written, also by streaming."""
    store.put("dir/object", data)
    assert store.get("dir/object") == data
    assert _stream(store, "dir/object")[1] == data


def test_put_replaces(store: ObjectStore):
    """The later of two writes wins, with another ETag."""
    first = store.put("object", b"one")
    second = store.put("object", b"three")
    assert store.get("object") == b"three"
    assert first != second


@pytest.mark.parametrize(
    ("byte_range", "start", "stop"),
    [
        (ByteRange(2, 5), 2, 5),
        (ByteRange(0, 1), 0, 1),
        (ByteRange(5, 50), 5, 10),
        (OffsetRange(3), 3, 10),
        (OffsetRange(0), 0, 10),
        (SuffixRange(3), 7, 10),
        (SuffixRange(30), 0, 10),
    ],
    ids=str,
)
def test_ranges(store: ObjectStore, byte_range: ObjectRange, start: int, stop: int):
    """A range returns just its bytes, cut off at the object's end."""
    data = b"0123456789"
    store.put("object", data)
    stream, streamed = _stream(store, "object", byte_range)
    assert store.get("object", byte_range) == data[start:stop]
    assert (streamed, stream.start, stream.stop, stream.info.size) == (data[start:stop], start, stop, 10)


@pytest.mark.parametrize(
    "byte_range",
    [ByteRange(10, 12), ByteRange(3, 3), ByteRange(5, 2), ByteRange(-2, 3), OffsetRange(10), SuffixRange(0)],
    ids=str,
)
def test_unsatisfiable_ranges(store: ObjectStore, byte_range: ObjectRange):
    """A range without a byte of the object in it is refused, not answered with nothing."""
    store.put("object", b"0123456789")
    with pytest.raises(RangeNotSatisfiableError, match="object"):
        store.get("object", byte_range)
    with pytest.raises(RangeNotSatisfiableError):
        _stream(store, "object", byte_range)


@pytest.mark.parametrize("byte_range", [SuffixRange(3), OffsetRange(0), ByteRange(0, 1)], ids=str)
def test_an_empty_object_satisfies_no_range(store: ObjectStore, byte_range: ObjectRange):
    """Any range of an empty object is refused (RFC 9110 §14.1.2)."""
    store.put("object", b"")
    with pytest.raises(RangeNotSatisfiableError):
        store.get("object", byte_range)


@pytest.mark.parametrize("byte_range", [None, ByteRange(0, 1), SuffixRange(1)], ids=str)
def test_a_missing_object(store: ObjectStore, byte_range: ObjectRange | None):
    """Reading what is not there raises an error that is FileNotFoundError and KeyError too, and names the object."""
    for read in (store.get, lambda key, wanted: _stream(store, key, wanted)):
        with pytest.raises(NotFoundError, match="no/such%") as caught:
            read("no/such%", byte_range)
        assert isinstance(caught.value, FileNotFoundError)
        assert isinstance(caught.value, KeyError)
        assert caught.value.uri.startswith(store.uri)


def test_heading_a_missing_object(store: ObjectStore):
    """Looking at what is not there raises."""
    with pytest.raises(NotFoundError):
        store.head("missing")


def test_head_tells_size_etag_and_time(store: ObjectStore):
    """`head` gives the size, the ETag that the write returned, and a recent time with its zone."""
    etag = store.put("dir/object", b"12345")
    info = store.head("dir/object")
    assert (info.key, info.size, info.etag) == ("dir/object", 5, etag)
    assert abs(datetime.now(UTC) - info.last_modified) < timedelta(minutes=1)


def test_put_if_absent_creates_and_then_refuses(store: ObjectStore):
    """Only the first conditional create writes; the object stays as it is."""
    etag = store.put_if_absent("dir/object", b"first")
    with pytest.raises(AlreadyExistsError, match="dir/object") as caught:
        store.put_if_absent("dir/object", b"second")
    assert isinstance(caught.value, FileExistsError)
    assert store.get("dir/object") == b"first"
    assert store.head("dir/object").etag == etag


def test_one_of_sixteen_wins(store: ObjectStore):
    """Of sixteen threads that create the same object, exactly one succeeds, and its bytes are there."""

    def create(number: int) -> bytes | None:
        data = b"%d" % number * 1000
        try:
            store.put_if_absent("contended", data)
        except AlreadyExistsError:
            return None
        return data

    with ThreadPoolExecutor(16) as pool:
        won = [data for data in pool.map(create, range(16)) if data is not None]
    assert won == [store.get("contended")]


@pytest.mark.parametrize("sizes", [[PART, PART, 17], [PART], [6]], ids=["2 and a bit", "1", "6 bytes"])
def test_put_parts(store: ObjectStore, sizes: list[int]):
    """Parts arrive in order as one object, with the ETag that `head` shows."""
    parts = [bytes([number]) * size for number, size in enumerate(sizes)]
    etag = store.put_parts("dir/large", iter(parts), part_size=PART, concurrency=3)
    assert store.get("dir/large") == b"".join(parts)
    assert store.head("dir/large").etag == etag


def test_parts_that_raise_write_nothing(store: ObjectStore):
    """An exception of the iterator goes on as it is, and the object keeps what it had."""
    store.put("large", b"before")

    def parts():
        yield bytes(PART)
        yield bytes(PART)
        raise OSError(5, "the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        store.put_parts("large", parts(), part_size=PART, concurrency=2)
    assert not isinstance(caught.value, StoreError)
    assert store.get("large") == b"before"
    assert _keys(store) == ["large"]


def test_list_stops_at_the_prefix(store: ObjectStore):
    """`a` finds what is below `a`, and neither `ab` nor an object called `a`."""
    for key in ("a/1", "a/b/2", "ab", "abc/3", "b"):
        store.put(key, b"x")
    assert _keys(store, "a") == _keys(store, "a/") == ["a/1", "a/b/2"]
    assert _keys(store) == ["a/1", "a/b/2", "ab", "abc/3", "b"]
    assert _keys(store, "c") == []
    assert _keys(store, "b") == []


def test_list_shows_what_head_shows(store: ObjectStore):
    """A listing has the same key, size and ETag as `head`."""
    store.put("dir/object", b"12345")
    (listed,) = store.list("dir")
    head = store.head("dir/object")
    assert (listed.key, listed.size, listed.etag) == (head.key, head.size, head.etag)


def test_an_empty_store_lists_nothing(store: ObjectStore):
    """A store without objects has an empty listing."""
    assert _keys(store) == []


@pytest.mark.parametrize(
    "store",
    [
        "memory",
        "file",
        "gs-base",
        "s3-base",
        pytest.param("s3", marks=pytest.mark.long),
        pytest.param("az-base", marks=pytest.mark.emulators),
    ],
    indirect=True,
)
def test_listing_more_than_a_page(store: ObjectStore):
    """Listings go on behind the store's page of a thousand."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:04}", b""), range(1001)))
    assert len(_keys(store, "many")) == 1001
    assert store.delete_prefix("many") == 1001
    assert _keys(store) == []


def test_delete_twice(store: ObjectStore):
    """Deleting removes the object; deleting again, or what never was, is no error."""
    store.put("dir/object", b"x")
    store.delete("dir/object")
    store.delete("dir/object")
    store.delete("never/was")
    with pytest.raises(NotFoundError):
        store.get("dir/object")


def test_delete_prefix_stops_at_the_prefix(store: ObjectStore):
    """Only what is below the prefix goes, and is counted."""
    for key in ("a/1", "a/b/2", "ab/3"):
        store.put(key, b"x")
    assert store.delete_prefix("a/") == 2
    assert store.delete_prefix("a") == 0
    assert _keys(store) == ["ab/3"]


@pytest.mark.parametrize("prefix", ["", "/", "//"])
def test_delete_prefix_refuses_everything(store: ObjectStore, prefix: str):
    """Without a prefix nothing is deleted."""
    store.put("precious", b"x")
    with pytest.raises(InvalidKeyError, match="refusing"):
        store.delete_prefix(prefix)
    assert _keys(store) == ["precious"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(store: ObjectStore, name: str):
    """Any legal name can be written, read, looked at, listed and deleted under exactly that name."""
    key = f"dir/{name}"
    if store.uri.startswith("az:") and "\\" in name:
        # There, it would be another name.
        with pytest.raises(InvalidKeyError, match="backslash"):
            store.put(key, b"")
        return
    store.put(key, name.encode())
    assert store.get(key) == name.encode()
    assert store.head(key).key == key
    assert _keys(store) == [key]
    store.delete(key)
    assert _keys(store) == []


def test_names_in_nfc_and_nfd_are_two_objects(store: ObjectStore):
    """Nobody normalises Unicode: composed and decomposed are different keys."""
    store.put("ü", b"composed")
    store.put("u\u0308", b"decomposed")
    assert (store.get("ü"), store.get("u\u0308")) == (b"composed", b"decomposed")


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_keys_that_leave_the_store_are_refused(store: ObjectStore, key: str):
    """A key that is no plain relative path is refused by every method before anything is done."""
    for use in (
        store.get,
        store.head,
        store.delete,
        store.full_checksum,
        lambda bad: store.put(bad, b"x"),
        lambda bad: store.put_if_absent(bad, b"x"),
        lambda bad: store.put_parts(bad, [b"x"], part_size=PART, concurrency=1),
        lambda bad: _stream(store, bad),
    ):
        with pytest.raises(InvalidKeyError):
            use(key)
    assert _keys(store) == []


@pytest.mark.parametrize("prefix", ["..", "a/..", "a//b", "/a", "nul\0"])
def test_prefixes_that_leave_the_store_are_refused(store: ObjectStore, prefix: str):
    """A prefix is held to the same rules as a key."""
    with pytest.raises(InvalidKeyError):
        list(store.list(prefix))
    with pytest.raises(InvalidKeyError):
        store.delete_prefix(prefix)


def test_attributes(store: ObjectStore):
    """Content type and cache control come back from every store but files."""
    store.put("object", b"{}", ObjectAttributes(content_type="application/json", cache_control="no-cache"))
    stream, _ = _stream(store, "object")
    wanted = ObjectAttributes() if store.uri.startswith("file:") else ObjectAttributes("application/json", "no-cache")
    assert stream.attributes == wanted


def test_attributes_of_parts(store: ObjectStore):
    """A multipart upload carries attributes too."""
    given = ObjectAttributes(content_type="application/x-hdf5", cache_control="immutable")
    store.put_parts("object", [b"data"], part_size=PART, concurrency=1, attributes=given)
    stream, _ = _stream(store, "object")
    assert stream.attributes == (ObjectAttributes() if store.uri.startswith("file:") else given)


def test_the_repr_names_the_store(store: ObjectStore):
    """A store's repr is its URI, and nothing secret."""
    assert store.uri in repr(store)


def test_streaming_never_blocks_the_event_loop(store: ObjectStore, monkeypatch: pytest.MonkeyPatch):
    """Also where a range was refused, and the store has to be asked for the object's size to say so."""
    store.put("object", b"0123456789")
    asked = []
    head = store.head
    monkeypatch.setattr(store, "head", lambda key: asked.append(threading.current_thread()) or head(key))
    with pytest.raises(RangeNotSatisfiableError):
        _stream(store, "object", OffsetRange(10))
    assert threading.main_thread() not in asked
