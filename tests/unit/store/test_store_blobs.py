"""Objects read into, and written from, a caller's own memory."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wildcast_server.errors import (
    InvalidKeyError,
    NotFoundError,
    OtherStoreError,
    RangeNotSatisfiableError,
    StoreError,
    StoreIoError,
    UnsupportedError,
)
from wildcast_server.store import Blobs, BlobTransfer, ObjectStore, StoreOptions

WAIT = 30


@pytest.fixture
def blobs(store: ObjectStore) -> Iterator[Blobs]:
    """Blobs on each kind of store, with small ranges."""
    with Blobs(store, threads=4, part_size=1000) as opened:
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Blobs]:
    """Blobs on a store of files, with small ranges."""
    with Blobs.open(tmp_path.as_uri(), threads=4, part_size=1000) as opened:
        yield opened


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def test_an_object_comes_back_into_a_numpy_array(blobs):
    """What was written from one array is read into another, in parallel ranges."""
    given_ = np.arange(1234, dtype=np.float32)
    blobs.write("a/weights", given_).wait(WAIT)
    read = np.empty_like(given_)
    blobs.read("a/weights", read).wait(WAIT)
    assert np.array_equal(given_, read)


def test_a_range_lands_at_its_place_in_the_buffer(blobs):
    """Offset and length are of the object, buffer_offset is of the buffer; the rest of the buffer stays."""
    data = noise(5000)
    blobs.store.put("k", data)
    buffer = bytearray(b"-" * 4000)
    blobs.read("k", buffer, offset=100, length=2500, buffer_offset=7).wait(WAIT)
    assert bytes(buffer) == b"-" * 7 + data[100:2600] + b"-" * (4000 - 2507)


def test_a_part_of_a_buffer_becomes_a_whole_object(blobs):
    """A write takes the bytes of the buffer that it names, and no others."""
    blobs.write("k", b"0123456789", length=4, buffer_offset=3).wait(WAIT)
    assert blobs.store.get("k") == b"3456"


def test_a_large_buffer_is_written_in_parts(blobs):
    """More than the smallest part goes up as a multipart upload, and arrives byte for byte."""
    data = noise((5 << 20) + 17)
    blobs.write("large", memoryview(data)).wait(WAIT)
    assert blobs.store.get("large") == data


def test_several_transfers_have_one_handle(blobs):
    """The handle of a list is done when all of it is."""
    sources = {f"k{each}": noise(500 * each + 1) for each in range(5)}
    with blobs.write_many([BlobTransfer(key, data) for key, data in sources.items()]) as handle:
        handle.wait(WAIT)
    buffers = {key: bytearray(len(data)) for key, data in sources.items()}
    with blobs.read_many([BlobTransfer(key, buffer) for key, buffer in buffers.items()]) as handle:
        handle.wait(WAIT)
        assert handle.poll()
    assert buffers == sources


def test_no_transfers_are_done_at_once(local):
    """An empty list is a request like any other."""
    local.read_many([]).wait(WAIT)


def test_registered_ids_stand_for_keys(blobs):
    """An id may be used wherever a key may, and stands for itself in decimal if no key was given."""
    assert blobs.register(7, "layers/seven") == "layers/seven"
    assert blobs.register(8) == "8"
    blobs.write_many([BlobTransfer(7, b"seven"), BlobTransfer(8, b"eight")]).wait(WAIT)
    assert (blobs.store.get("layers/seven"), blobs.store.get("8")) == (b"seven", b"eight")


def test_an_id_cannot_be_given_to_another_key(local):
    """Registering again is harmless with the same key, an error with another, and possible after deregistering."""
    local.register(1, "a")
    local.register(1, "a")
    with pytest.raises(InvalidKeyError, match="another key"):
        local.register(1, "b")
    local.deregister(1)
    assert local.register(1, "b") == "b"


def test_an_unknown_id_is_refused(local):
    """Nothing is sent for an id that was never registered."""
    with pytest.raises(InvalidKeyError, match="not registered"):
        local.read(99, bytearray(1))


@pytest.mark.parametrize("key", ["", "/x", "a/../b", "a//b"])
def test_keys_are_checked(local, key):
    """What is no key can neither be used nor registered."""
    with pytest.raises(InvalidKeyError):
        local.register(1, key)
    with pytest.raises(InvalidKeyError):
        local.write(key, b"x")


def test_a_write_at_an_offset_is_unsupported(blobs):
    """Objects are written as a whole; nothing is sent for anything else."""
    with pytest.raises(UnsupportedError, match="from byte 3") as caught:
        blobs.write("k", b"abc", offset=3)
    assert caught.value.uri == f"{blobs.store.uri}/k"
    assert blobs.exists(["k"]) == [False]


@pytest.mark.parametrize(("size", "offset"), [(9, 0), (999, 0), (2999, 0), (2999, 10)])
def test_a_short_object_is_an_error(blobs, size, offset):
    """A buffer that the object cannot fill is never reported as done."""
    blobs.store.put("k", noise(size))
    handle = blobs.read("k", bytearray(size - offset + 1), offset=offset)
    with pytest.raises((StoreIoError, RangeNotSatisfiableError)) as caught:
        handle.wait(WAIT)
    assert caught.value.uri == f"{blobs.store.uri}/k"


def test_an_offset_behind_the_end_is_an_error(blobs):
    """Even if nothing is to be read from there."""
    blobs.store.put("k", b"abc")
    with pytest.raises(RangeNotSatisfiableError):
        blobs.read("k", bytearray(1), offset=3).wait(WAIT)
    with pytest.raises(RangeNotSatisfiableError):
        blobs.read("k", bytearray(), offset=4).wait(WAIT)
    blobs.read("k", bytearray(), offset=3).wait(WAIT)


def test_a_missing_object_is_not_found_in_three_ways(blobs):
    """The error is ours, a KeyError, and a FileNotFoundError, and it says which object."""
    handle = blobs.read("nowhere", bytearray(5000))
    for kind in (NotFoundError, KeyError, FileNotFoundError):
        with pytest.raises(kind) as caught:
            handle.wait(WAIT)
        assert caught.value.uri == f"{blobs.store.uri}/nowhere"


def test_one_failure_fails_the_request(blobs):
    """A list with one missing object is not done, whatever became of the others."""
    blobs.store.put("there", b"abc")
    handle = blobs.read_many([BlobTransfer("there", bytearray(3)), BlobTransfer("missing", bytearray(3))])
    with pytest.raises(NotFoundError):
        handle.wait(WAIT)


def test_existence_of_several(blobs):
    """One answer for each, in the order of the question, by key or by id."""
    blobs.store.put("a", b"")
    blobs.register(5, "a")
    assert blobs.exists(["a", "b", 5, "a/c"]) == [True, False, True, False]
    assert blobs.exists([]) == []


def test_size_says_how_large_a_buffer_must_be(blobs):
    """In bytes; a missing object has none."""
    blobs.store.put("a", b"12345")
    assert blobs.size("a") == 5
    with pytest.raises(NotFoundError):
        blobs.size("b")


class SlowStore:
    """A store of one object whose reads wait for an event; counts who is inside."""

    uri = "slow://store"

    def __init__(self, versions: int = 1) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.reads = 0
        self.most = 0
        self._inside = 0
        self._versions = versions
        self._lock = threading.Lock()

    def read_into(self, _key: str, buffer: memoryview, start: int = 0) -> str:
        with self._lock:
            self._inside += 1
            self.reads += 1
            self.most = max(self.most, self._inside)
        self.entered.release()
        assert self.go.wait(WAIT)
        buffer[:] = bytes([start % 251]) * len(buffer)
        with self._lock:
            self._inside -= 1
            return f"etag-{self.reads % self._versions}"


def test_poll_tells_without_waiting(local):
    """False while under way, True when done."""
    local.store = slow = SlowStore()
    handle = local.read("k", bytearray(10))
    assert slow.entered.acquire(timeout=WAIT)
    assert handle.poll() is False
    slow.go.set()
    handle.wait(WAIT)
    assert handle.poll() is True


def test_waiting_has_a_limit(local):
    """TimeoutError leaves the transfer going on; it can be waited for again."""
    local.store = slow = SlowStore()
    handle = local.read("k", bytearray(10))
    with pytest.raises(TimeoutError):
        handle.wait(0.01)
    slow.go.set()
    handle.wait(WAIT)


def test_threads_are_bounded(local):
    """Never are more requests under way than there are threads."""
    local.store = slow = SlowStore()
    handle = local.read("k", bytearray(20_000))
    for _ in range(4):
        assert slow.entered.acquire(timeout=WAIT)
    slow.go.set()
    handle.wait(WAIT)
    assert (slow.most, slow.reads) == (4, 20)


def test_a_release_in_flight_waits_for_what_has_begun_and_leaves_the_rest(local):
    """When release returns, nobody writes into the buffer any more, and the caller may resize it."""
    local.store = slow = SlowStore()
    buffer = bytearray(20_000)
    handle = local.read("k", buffer)
    for _ in range(4):
        assert slow.entered.acquire(timeout=WAIT)
    releasing = threading.Thread(target=handle.release)
    releasing.start()
    while not handle._released:
        pass
    slow.go.set()
    releasing.join(WAIT)
    assert slow.reads == 4
    buffer.clear()


def test_a_released_handle_answers_no_more(local):
    """Releasing twice is harmless; asking afterwards is a mistake that is told."""
    handle = local.write("k", b"x")
    handle.wait(WAIT)
    handle.release()
    handle.release()
    with pytest.raises(ValueError, match="released"):
        handle.poll()
    with pytest.raises(ValueError, match="released"):
        handle.wait()


def test_a_failed_transfer_lets_go_of_its_buffer_too(local):
    """The error's traceback keeps no hold of the caller's memory once the handle is released."""
    buffer = bytearray(3000)
    handle = local.read("missing", buffer)
    with pytest.raises(NotFoundError):
        handle.wait(WAIT)
    handle.release()
    buffer.extend(b"resizable")


def test_a_buffer_stays_alive_until_released(local):
    """A caller may drop the array that it reads into; afterwards it is not kept."""
    local.store.put("k", b"x" * 8000)
    array = np.empty(1000)
    known = weakref.ref(array)
    handle = local.read("k", array)
    del array
    gc.collect()
    assert known() is not None
    handle.wait(WAIT)
    handle.release()
    gc.collect()
    assert known() is None


def test_a_handle_that_is_dropped_leaks_nothing(local):
    """Without release, the buffer goes when the handle does."""
    local.store.put("k", b"x" * 8000)
    array = np.empty(1000)
    known = weakref.ref(array)
    handle = local.read("k", array)
    handle.wait(WAIT)
    del array, handle
    gc.collect()
    assert known() is None


def test_an_object_that_is_replaced_meanwhile_is_an_error(local):
    """Ranges of two versions of an object never make a buffer that is reported as done."""
    local.store = slow = SlowStore(versions=2)
    slow.go.set()
    handle = local.read("k", bytearray(5000))
    with pytest.raises(StoreIoError, match="replaced"):
        handle.wait(WAIT)


def test_what_nobody_expected_comes_as_another_store_error(local):
    """A defect in a store is told with the URI, and with its cause."""

    class Broken:
        uri = "broken://store"

        def put(self, _key: str, _data: bytes) -> None:
            raise ZeroDivisionError

    local.store = Broken()
    handle = local.write("k", b"x")
    with pytest.raises(OtherStoreError, match="ZeroDivisionError") as caught:
        handle.wait(WAIT)
    assert (caught.value.uri, type(caught.value.__cause__)) == ("broken://store", ZeroDivisionError)


def test_closing_waits_and_then_refuses(tmp_path):
    """What was begun is finished; nothing begins afterwards."""
    blobs = Blobs.open(tmp_path.as_uri())
    handle = blobs.write("k", b"x" * 100)
    blobs.close()
    assert handle.poll()
    with pytest.raises(ValueError, match="closed"):
        blobs.write("k", b"y")
    with pytest.raises(ValueError, match="closed"):
        blobs.exists(["k"])


def test_other_threads_run_while_a_buffer_is_filled(bucket, s3_endpoint):
    """The interpreter is not held while bytes are on their way: moto, which is Python, answers from this process."""
    data = noise(3 << 20)
    with Blobs.open(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint), part_size=1 << 20) as blobs:
        blobs.write("k", data).wait(WAIT)
        buffer, turns = bytearray(len(data)), 0
        handle = blobs.read("k", buffer)
        while not handle.poll():
            turns += 1
    assert bytes(buffer) == data
    assert turns > 0


def test_many_threads_share_one_object(local):
    """Each caller gets its own bytes."""
    data = noise(7000)
    local.store.put("k", data)
    wrong = []

    def read(offset: int) -> None:
        buffer = bytearray(2000)
        with local.read("k", buffer, offset=offset) as handle:
            handle.wait(WAIT)
        if bytes(buffer) != data[offset : offset + 2000]:
            wrong.append(offset)

    threads = [threading.Thread(target=read, args=(offset,)) for offset in range(0, 5000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert wrong == []


def test_an_answer_that_breaks_off_is_an_error(answering):
    """A connection that ends in the middle of a body never makes a buffer that is reported as done."""
    modified = {"Last-Modified": "Fri, 01 Jan 2021 00:00:00 GMT", "ETag": '"e"'}
    url = answering(206, b"abc", {"Content-Length": "10", "Content-Range": "bytes 0-9/10", **modified})
    options = StoreOptions(endpoint_url=url, max_retries=0)
    with Blobs.open("s3://bucket", options) as blobs:
        handle = blobs.read("k", bytearray(10))
        with pytest.raises(StoreError) as caught:
            handle.wait(WAIT)
    assert caught.value.uri == "s3://bucket/k"


def test_importing_the_library_brings_no_cloud_along():
    """A program that keeps files pays for no SDK."""
    heavy = "boto3 botocore awscrt cryptography urllib3 httpx sqlalchemy fastapi xarray zarr"
    code = f"import sys, wildcast_server.store; sys.exit(','.join(set('{heavy}'.split()) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("settings_", [{"threads": 0}, {"part_size": 0}])
def test_bounds_are_positive(tmp_path, settings_):
    """No threads, or no bytes in a part, would never end."""
    with pytest.raises(ValueError, match="at least 1"):
        Blobs.open(tmp_path.as_uri(), **settings_)


def test_texts_name_the_store(local):
    """What is printed says what it is, and shows no buffer."""
    handle = local.write("k", b"secret")
    handle.wait(WAIT)
    assert repr(local) == f"Blobs({local.store.uri!r})"
    assert repr(handle) == f"BlobHandle({local.store.uri!r}, done)"
    handle.release()
    assert "released" in repr(handle)
    assert "secret" not in repr(BlobTransfer("k", b"secret"))
