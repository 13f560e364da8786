"""Which memory objects can be read into and written from, and which bytes of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wildcast_server.errors import (
    RangeNotSatisfiableError,
    StoreIoError,
    UnsupportedError,
)
from wildcast_server.store import Blobs, open_store

WAIT = 30


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Blobs]:
    """Blobs on a store of files, with small ranges."""
    with Blobs.open(tmp_path.as_uri(), threads=4, part_size=1000) as opened:
        yield opened


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


UNUSABLE = {
    "read-only": b"bytes",
    "strided": np.zeros((4, 4))[:, ::2],
    "fortran": np.zeros((4, 5), order="F"),
    "no-buffer": "text",
    "dates": np.zeros(3, "datetime64[s]"),
    "objects": [1, 2],
}


@pytest.mark.parametrize("buffer", UNUSABLE.values(), ids=UNUSABLE)
def test_buffers_that_cannot_be_read_into_are_refused(local, buffer):
    """Before anything is sent, with what to do."""
    with pytest.raises(UnsupportedError):
        local.read("k", buffer)


USABLE = {
    "big-endian": np.arange(10, dtype=">f4"),
    "records": np.zeros(4, dtype=[("a", "i4"), ("b", "f8")]),
    "no-elements": np.empty((0, 3)),
    "matrix": np.arange(12.0).reshape(3, 4),
    "half": np.arange(5, dtype="f2"),
    "complex": np.arange(5, dtype="c16"),
}


@pytest.mark.parametrize("array", USABLE.values(), ids=USABLE)
def test_arrays_of_any_element_go_there_and_back(local, array):
    """What counts is the bytes, whatever Python's own buffers know to cast."""
    local.write("k", array).wait(WAIT)
    read = np.zeros_like(array)
    local.read("k", read).wait(WAIT)
    assert read.tobytes() == array.tobytes()
    array.flags.writeable = False
    local.write("k2", array).wait(WAIT)
    assert local.store.get("k2") == array.tobytes()
    array.flags.writeable = True


@pytest.mark.parametrize(
    "where", [{"buffer_offset": 11}, {"buffer_offset": -1}, {"length": 11}, {"length": -1}, {"offset": -1}]
)
def test_bytes_outside_of_the_buffer_are_refused(local, where):
    """A mistake in an offset never reaches memory that was not meant."""
    with pytest.raises(ValueError, match="not within"):
        local.read("k", bytearray(10), **where)


MEMORY = open_store("memory://")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(0, 300),
    offset=st.integers(0, 320),
    length=st.integers(0, 320),
    place=st.integers(0, 20),
    part_size=st.integers(1, 100),
)
def test_a_read_is_a_slice_or_an_error(size, offset, length, place, part_size):
    """For every object, range and size of parts: exactly the bytes of the slice, or an error; nothing beside them."""
    data = noise(size)
    MEMORY.put("k", data)
    buffer = bytearray(b"\xaa" * (length + 2 * place))
    with Blobs(MEMORY, threads=2, part_size=part_size) as blobs:
        handle = blobs.read("k", buffer, offset=offset, length=length, buffer_offset=place)
        if offset + length > size:
            with pytest.raises((StoreIoError, RangeNotSatisfiableError)):
                handle.wait(WAIT)
        else:
            handle.wait(WAIT)
            assert buffer[place : place + length] == data[offset : offset + length]
    assert buffer[:place] == buffer[place + length :] == b"\xaa" * place
