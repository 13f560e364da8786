"""Transfers under way: asked, waited for, released, and what becomes of the buffers."""

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wildcast_server.errors import (
    NotFoundError,
    OtherStoreError,
    StoreIoError,
)
from wildcast_server.store import Blobs

WAIT = 30


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Blobs]:
    """Blobs on a store of files, with small ranges."""
    with Blobs.open(tmp_path.as_uri(), threads=4, part_size=1000) as opened:
        yield opened


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
