"""Files that are written piece by piece straight into a store."""

import base64
import os
import threading
import time
from collections.abc import Iterable
from functools import partial
from hashlib import new
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildcast.contract.naming import RESERVED
from wildcast_server.errors import (
    MultipartError,
    NetworkError,
)
from wildcast_server.store import ObjectAttributes
from wildcast_server.transfer import writer
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.streamed import Streamed
from wildcast_server.transfer.streaming import StreamingSink

MIB = 1 << 20
PART = 5 * MIB

md5 = partial(new, "md5", usedforsecurity=False)


def test_small_writes_become_one_request(context, store, ledger, tmp_path):
    """A total of one part is a single PUT, with no multipart upload; its row tells what verification needs."""
    with context.open("fields/a.nc") as file:
        for _ in range(5):
            file.write(b"x" * MIB)
        assert store.puts == []
    assert (store.puts, store.uploads) == (["p/exec/fields/a.nc"], {})
    assert store.get("p/exec/fields/a.nc") == b"x" * PART
    row = read_ledger(ledger)["fields/a.nc"]
    assert (row.size, row.is_multipart, row.source, row.content_type) == (PART, False, None, "application/netcdf")
    assert row.etag == store.head("p/exec/fields/a.nc").etag
    assert [path.name for path in (tmp_path / "output").iterdir()] == [RESERVED]


def test_an_empty_file_is_an_object(context, store, ledger):
    """Nothing written is a file of nothing."""
    context.open("empty").close()
    assert store.get("p/exec/empty") == b""
    assert read_ledger(ledger)["empty"].size == 0


def test_more_than_a_part_is_a_multipart_upload_of_equal_parts(context, store, ledger):
    """The last part alone is smaller, and has something in it."""
    data = os.urandom(2 * PART + 1)
    with context.open("a") as file:
        for start in range(0, len(data), 700_001):
            file.write(data[start : start + 700_001])
    assert store.uploads["p/exec/a"] == [PART, PART, 1]
    assert store.puts == []
    assert store.get("p/exec/a") == data
    assert read_ledger(ledger)["a"].is_multipart


def test_a_whole_number_of_parts_has_no_empty_one(context, store):
    """Stores refuse an empty part."""
    with context.open("a") as file:
        file.write(bytes(2 * PART))
    assert store.uploads["p/exec/a"] == [PART, PART]


@settings(max_examples=15, deadline=None)
@given(pieces=st.lists(st.sampled_from([1, 7, 4096, MIB, PART - 1, PART, PART + 1]), max_size=5))
def test_whatever_the_pieces_the_bytes_and_the_checksum_are_right(pieces, tmp_path_factory, streamed_store):
    """The object is what was written, and the ledger has its CRC64NVME."""
    from awscrt.checksums import crc64nvme

    directory, store = tmp_path_factory.mktemp("any"), streamed_store()
    sink = StreamingSink(directory, Streamed(store, "p", directory / "ledger", part_size=PART))
    data = b""
    with sink.open("a") as file:
        for number, size in enumerate(pieces):
            piece = bytes([number + 1]) * size
            file.write(bytearray(piece))
            data += piece
    sink.finish()
    row = read_ledger(directory / "ledger")["a"]
    assert store.get("p/a") == data
    assert row.size == len(data)
    assert int.from_bytes(base64.b64decode(row.crc64nvme)) == crc64nvme(data)
    assert row.is_multipart == (len(data) > PART)


def test_objects_are_stored_with_their_type_and_caching(context, store):
    """As files that are uploaded are."""
    with context.open("a.nc") as file:
        file.write(b"x")
    assert store.attributes["p/exec/a.nc"] == ObjectAttributes(
        content_type="application/netcdf", cache_control="public, max-age=31536000, immutable"
    )


def test_an_exception_aborts_the_upload(context, store, ledger):
    """No object, no upload, no row; and the exception is the workflow's own."""
    with pytest.raises(TypeError), context.open("a") as file:
        file.writelines([bytes(3 * PART), "no bytes"])
    assert (list(store.list("p")), store.completed, read_ledger(ledger)) == ([], [], {})


def test_a_write_after_a_failed_upload_raises_at_once(context, store, ledger):
    """The store's own error, also from each further write and from closing."""

    def fail(key):
        if len(store.uploads[key]) == 1:
            raise NetworkError("the line is cut", "memory:///a")

    store.hook = fail
    file = context.open("a")
    with pytest.raises(NetworkError, match="the line is cut"):
        file.write(bytes(10 * PART))
    with pytest.raises(NetworkError, match="the line is cut"):
        file.write(b"x")
    with pytest.raises(NetworkError, match="the line is cut"):
        file.close()
    assert file.closed
    assert read_ledger(ledger) == {}
    store.hook = lambda _key: None
    context.open("a").close()
    assert list(read_ledger(ledger)) == ["a"]


def test_closing_waits_for_the_acknowledgement(context, store, ledger):
    """A row is never there before the object is."""
    seen = []
    store.hook = lambda _key: (time.sleep(0.05), seen.append(read_ledger(ledger)))
    with context.open("a") as file:
        file.write(b"x")
    assert seen == [{}]
    assert list(read_ledger(ledger)) == ["a"]


def test_what_a_small_file_fails_with_is_raised_by_closing(context, store, ledger):
    """It has no earlier moment; nothing is left."""

    def fail(_key):
        raise NetworkError("down", "memory:///a")

    store.hook = fail
    with pytest.raises(NetworkError), context.open("a") as file:
        file.write(b"x")
    assert read_ledger(ledger) == {}


def test_memory_is_bounded(tmp_path, streamed_store):
    """A file holds (n + 2) parts and no more: those that the store has taken, and one; then writing waits."""
    taken, may_go_on = [], threading.Event()

    class Slow(streamed_store):
        def put_parts(self, key: str, parts: Iterable[bytes], *, concurrency: int, **_kwargs: Any) -> str:
            for part in parts:
                taken.append(len(part))
                # As many as the port allows to be held; then nothing is sent for a while.
                if len(taken) == concurrency + 1:
                    self.concurrency[key] = concurrency
                    assert may_go_on.wait(20)
            return "etag"

    store = Slow()
    sink = StreamingSink(tmp_path, Streamed(store, "p", tmp_path / "ledger", slots=4, part_size=PART))
    file = sink.open("a")

    def write() -> None:
        with file:
            for _ in range(100):
                file.write(bytes(MIB))

    writing = threading.Thread(target=write)
    writing.start()
    deadline = time.monotonic() + 20
    while not (store.concurrency and file._upload._part is not None):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    held = file.tell()
    may_go_on.set()
    writing.join()
    sink.finish()
    assert store.concurrency == {"p/a": 2}
    assert held == (2 + 2) * PART
    assert sum(taken) == 100 * MIB


def test_a_hint_makes_the_parts_larger(context, store):
    """So that 10,000 parts are enough."""
    with context.open("a", size_hint=9000 * PART + 1) as file:
        file.write(bytes(6 * MIB))
        file.write(b"x")
    assert store.uploads["p/exec/a"] == [6 * MIB, 1]


def test_too_long_a_file_says_what_to_do(context, monkeypatch):
    """An upload has so many parts and no more."""
    monkeypatch.setattr(writer, "MAX_PARTS", 3)
    file = context.open("a")
    file.write(bytes(3 * PART))
    with pytest.raises(MultipartError, match="size_hint"):
        file.write(b"x")
    file.abort()


def test_an_etag_that_is_an_md5_is_expected(tmp_path, streamed_store):
    """Where a store's ETags are MD5s and it checks nothing itself, the row says which ETag must have come back."""

    class Md5Store(streamed_store):
        etags_are_md5 = True

    sink = StreamingSink(tmp_path, Streamed(Md5Store(), "p", tmp_path / "ledger", part_size=PART))
    for name, size in (("a", 3), ("b", PART + 3)):
        with sink.open(name) as file:
            file.write(bytes(size))
    sink.finish()
    rows = read_ledger(tmp_path / "ledger")
    whole = md5(md5(bytes(PART)).digest() + md5(bytes(3)).digest()).hexdigest()
    assert rows["a"].expected_etag == f'"{md5(bytes(3)).hexdigest()}"'
    assert rows["b"].expected_etag == f'"{whole}-2"'


@pytest.mark.parametrize("etag", ['"quoted-2"', "bare-2"])
def test_etags_are_recorded_as_they_came(tmp_path, etag, streamed_store):
    """Quoted or bare."""

    class Named(streamed_store):
        def put_parts(self, *args: Any, **kwargs: Any) -> str:
            super().put_parts(*args, **kwargs)
            return etag

    sink = StreamingSink(tmp_path, Streamed(Named(), "p", tmp_path / "ledger", part_size=PART))
    with sink.open("b") as file:
        file.write(bytes(PART + 3))
    sink.finish()
    assert read_ledger(tmp_path / "ledger")["b"].etag == etag
