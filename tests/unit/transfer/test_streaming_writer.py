"""Files that are written piece by piece straight into a store."""

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import new
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildcast_server import RunContext
from wildcast_server.errors import (
    AlreadyExistsError,
    InvalidUriError,
    MultipartError,
    NetworkError,
    UnsupportedError,
    WorkflowFailedError,
)
from wildcast_server.store import ObjectAttributes, StoreOptions, open_store
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.transfer import writer
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.streamed import Streamed
from wildcast_server.transfer.streaming import StreamingSink, open_sink, options_of, plain_options
from wildcast_server.transfer.writer import MAX_OPEN_FILES

MIB = 1 << 20
PART = 5 * MIB

md5 = partial(new, "md5", usedforsecurity=False)


class Watched(ObstoreStore):
    """A memory store that notes its writes, and can be made to fail."""

    def __init__(self) -> None:
        memory = open_store("memory://")
        assert isinstance(memory, ObstoreStore)
        super().__init__(memory.uri, memory._driver)
        self.hook: Callable[[str], None] = lambda _key: None
        self.puts: list[str] = []
        self.uploads: dict[str, list[int]] = {}
        self.attributes: dict[str, ObjectAttributes | None] = {}
        self.concurrency: dict[str, int] = {}
        self.conditional: list[str] = []
        self.completed: list[str] = []

    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        self.hook(key)
        self.puts.append(key)
        self.attributes[key] = attributes
        return super().put(key, data, attributes)

    def put_parts(
        self,
        key: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None = None,
        if_absent: bool = False,
        size: int | None = None,
    ) -> str | None:
        del size
        self.uploads[key], self.concurrency[key] = [], concurrency
        self.attributes[key] = attributes
        if if_absent:
            self.conditional.append(key)
            raise UnsupportedError("not here", key)

        def watched():
            for part in parts:
                self.hook(key)
                self.uploads[key].append(len(part))
                yield part

        etag = super().put_parts(key, watched(), part_size=part_size, concurrency=concurrency, attributes=attributes)
        self.completed.append(key)
        return etag


@pytest.fixture
def store():
    return Watched()


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "streamed"


@pytest.fixture
def sink(store, ledger, tmp_path):
    (tmp_path / "output").mkdir()
    made = StreamingSink(tmp_path / "output", Streamed(store, "p/exec", ledger, part_size=PART))
    yield made
    made.abort()


@pytest.fixture
def context(sink, tmp_path):
    return RunContext("exec_0_00000000", tmp_path / "output", sink=sink)


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
    assert list((tmp_path / "output").iterdir()) == []


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
def test_whatever_the_pieces_the_bytes_and_the_checksum_are_right(pieces, tmp_path_factory):
    """The object is what was written, and the ledger has its CRC64NVME."""
    from awscrt.checksums import crc64nvme

    directory, store = tmp_path_factory.mktemp("any"), Watched()
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


def test_creating_only_if_absent(context, store):
    """What is there already is refused when it is opened, and what appears meanwhile when it is closed."""
    with context.open("a") as file:
        file.write(b"ours")
    with pytest.raises(FileExistsError, match="if_absent=True"):
        context.open("a", if_absent=True)
    file = context.open("b", if_absent=True)
    file.write(b"ours")
    store.put("p/exec/b", b"theirs")
    with pytest.raises(AlreadyExistsError):
        file.close()
    assert store.get("p/exec/b") == b"theirs"


def test_a_lost_answer_to_a_conditional_create_is_no_failure(context, store, ledger):
    """The object that is there is the very one that was sent."""
    file = context.open("b", if_absent=True)
    file.write(b"ours")
    store.put("p/exec/b", b"ours")
    file.close()
    assert read_ledger(ledger)["b"].etag == store.head("p/exec/b").etag


def test_a_large_conditional_create_asks_the_store_for_it(context, store):
    """The condition travels with the multipart upload; a store that knows none is looked into before."""
    with context.open("a", if_absent=True) as file:
        file.write(bytes(PART + 1))
    assert store.conditional == ["p/exec/a"]
    assert store.head("p/exec/a").size == PART + 1
    store.put("p/exec/b", b"theirs")
    with pytest.raises(AlreadyExistsError), context.open("b", if_absent=True) as file:
        file.write(bytes(PART + 1))
    assert store.get("p/exec/b") == b"theirs"


def test_a_name_that_is_on_disk_is_refused(context, tmp_path):
    """One place has one file."""
    (tmp_path / "output" / "a").write_bytes(b"x")
    with pytest.raises(FileExistsError, match="is in the output directory already"):
        context.open("a")


def test_documents_stay_on_disk(context, store, tmp_path):
    """What describes a zarr store goes up last, whoever writes it."""
    with context.open("a.zarr/.zattrs") as file:
        file.write(b"{}")
    assert (tmp_path / "output/a.zarr/.zattrs").read_bytes() == b"{}"
    assert list(store.list("p")) == []


def test_a_file_that_is_not_closed_fails_the_run(sink, context, store, ledger):
    """By its name, and nothing is left of it."""
    context.open("a.nc").write(bytes(2 * PART))
    with pytest.raises(WorkflowFailedError, match=r"a\.nc was opened with context\.open and never closed"):
        sink.finish()
    assert (list(store.list("p")), store.completed, read_ledger(ledger)) == ([], [], {})


def test_aborting_the_run_aborts_what_is_open(sink, context, store):
    """A cancelled workflow leaves no upload behind, and cannot go on."""
    file = context.open("a")
    file.write(bytes(2 * PART))
    sink.abort()
    sink.abort()
    assert file.closed
    assert store.completed == []
    with pytest.raises(ValueError, match="a is closed"):
        file.write(b"x")
    with pytest.raises(RuntimeError, match="the run has ended"):
        context.open("b")


def test_open_files_are_bounded(context):
    """Each holds memory; one more than there may be is told to close another."""
    files = [context.open(str(number)) for number in range(MAX_OPEN_FILES)]
    with pytest.raises(OSError, match="close one first"):
        context.open("more")
    files[0].close()
    context.open("more").close()


def test_files_in_turn_never_wait_for_each_other(context, store):
    """One thread may write as many files as may be open, a part each in turn; none needs what another has."""
    files = [context.open(str(number)) for number in range(MAX_OPEN_FILES)]
    for _ in range(2):
        for file in files:
            file.write(bytes(PART))
    for file in files:
        file.write(b"end")
        file.close()
    assert len(store.completed) == MAX_OPEN_FILES
    assert sum(store.concurrency.values()) <= 16 + MAX_OPEN_FILES
    assert max(store.concurrency.values()) == 8


def test_memory_is_bounded(tmp_path):
    """A file holds (n + 2) parts and no more: those that the store has taken, and one; then writing waits."""
    taken, may_go_on = [], threading.Event()

    class Slow(Watched):
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


def test_an_etag_that_is_an_md5_is_expected(tmp_path):
    """Where a store's ETags are MD5s and it checks nothing itself, the row says which ETag must have come back."""

    class Md5Store(Watched):
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
def test_etags_are_recorded_as_they_came(tmp_path, etag):
    """Quoted or bare."""

    class Named(Watched):
        def put_parts(self, *args: Any, **kwargs: Any) -> str:
            super().put_parts(*args, **kwargs)
            return etag

    sink = StreamingSink(tmp_path, Streamed(Named(), "p", tmp_path / "ledger", part_size=PART))
    with sink.open("b") as file:
        file.write(bytes(PART + 3))
    sink.finish()
    assert read_ledger(tmp_path / "ledger")["b"].etag == etag


def test_a_fork_cannot_stream(context):
    """Connections do not survive a fork, and two that write one file would mix it."""
    file = context.open("a")
    file._owner = -1
    with pytest.raises(RuntimeError, match="only the process that runs the workflow"):
        file.write(b"x")
    file._owner = os.getpid()
    file.close()


def test_store_options_travel_as_json(tmp_path):
    """What the worker knows of the store reaches the runner's process unchanged."""
    options = StoreOptions(
        access_key_id="a", secret_access_key="canary", ca_bundle=tmp_path, tags={"team": "x"}, retry_deadline=1.5
    )
    assert options_of(json.loads(json.dumps(plain_options(options)))) == options


def test_the_factory_opens_the_store_by_its_uri(tmp_path):
    """It is given plain values, and what cannot be opened is an error of ours."""
    arguments = {"options": plain_options(StoreOptions()), "prefix": "p", "ledger": str(tmp_path / "ledger")}
    sink = open_sink(tmp_path, store=(tmp_path / "objects").as_uri(), **arguments)
    with sink.open("a") as file:
        file.write(b"x")
    sink.finish()
    assert (tmp_path / "objects/p/a").read_bytes() == b"x"
    with pytest.raises(InvalidUriError):
        open_sink(tmp_path, store="nowhere", **arguments)
