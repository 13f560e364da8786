"""Objects read into, and written from, a caller's own memory."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wildcast_server.errors import (
    InvalidKeyError,
    NotFoundError,
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
