"""A file on local disk that is open for reading, and a stream of it a block ahead of whoever sends it."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Self

from wildcast_server.errors import StoreError, StoreIoError
from wildcast_server.store._errors import file_error
from wildcast_server.store.base import ObjectInfo

BLOCK = 1 << 20
"""Bytes that are read at a time. Smaller ones cost more switches between threads, larger ones more cache misses."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalFile:
    """A regular file that is open for reading.

    Its descriptor is closed when `close` was called and no thread reads any more: closed under a read, its number
    could by then be that of another file.

    Parameters
    ----------
    path
        In the file system's own bytes.
    uri
        What it is called in an error.

    Raises
    ------
    StoreError
        As a store's `get` does; there is no such object if it is a directory or a device.
    """

    def __init__(self, path: bytes, uri: str) -> None:
        self.uri = uri
        self._lock = Lock()
        self._readers = 0
        self._closed = False
        self._descriptor = -1
        try:
            # Without O_NONBLOCK, opening a pipe would wait for its writer. It changes nothing for files.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self._status = os.fstat(self._descriptor)
            if not stat.S_ISREG(self._status.st_mode):
                raise IsADirectoryError(errno.EISDIR, "not a file")
        except OSError as error:
            self.close()
            raise file_error(error, uri) from error

    def __del__(self) -> None:
        self.close()

    @property
    def size(self) -> int:
        """How many bytes it had when it was opened."""
        return self._status.st_size

    def info(self, key: str) -> ObjectInfo:
        """Describe the file as the driver does: a test compares the two."""
        status, microseconds = self._status, self._status.st_mtime_ns // 1000
        etag = f'"{status.st_ino:x}-{max(microseconds, 0):x}-{status.st_size:x}"'
        return ObjectInfo(key, status.st_size, etag, _EPOCH + timedelta(microseconds=microseconds))

    def read(self, start: int, length: int) -> bytes:
        """Read exactly `length` bytes from `start` on; nothing once the file is closed.

        Raises
        ------
        StoreIoError
            If the file has become shorter, or cannot be read.
        """
        with self._lock:
            if self._closed:
                return b""
            self._readers += 1
        try:
            return self._read(start, length)
        except OSError as error:
            raise error if isinstance(error, StoreError) else file_error(error, self.uri) from error
        finally:
            self._leave()

    def _read(self, start: int, length: int) -> bytes:
        block = os.pread(self._descriptor, length, start)
        while len(block) < length:
            # Rare: a file system that is interrupted may return less than there is.
            more = os.pread(self._descriptor, length - len(block), start + len(block))
            if not more:
                raise StoreIoError(f"{self.uri} became shorter while it was read", self.uri)
            block += more
        return block

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` from `start` on, without a copy in between; for a file that nobody closes meanwhile.

        Raises
        ------
        StoreIoError
            As `read`.
        """
        filled = 0
        try:
            while filled < len(buffer):
                count = os.preadv(self._descriptor, [buffer[filled:]], start + filled)
                if not count:
                    raise StoreIoError(f"{self.uri} became shorter while it was read", self.uri)
                filled += count
        except OSError as error:
            raise error if isinstance(error, StoreError) else file_error(error, self.uri) from error

    def _leave(self) -> None:
        with self._lock:
            self._readers -= 1
            self._close_if_unused()

    def close(self) -> None:
        """Let go of the file; a second time does nothing."""
        with self._lock:
            self._closed = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._readers and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class ReadAhead:
    """Asynchronous iterator over the bytes of `file` from `start` to `stop` (exclusive), in blocks.

    While a block is being sent the next one is read, in a thread that is nobody's while the client is slow. In memory
    are at most three blocks of `BLOCK` bytes: that one, the one that the consumer has, and the one before it, which
    its transport may still be sending. Nothing before `start` is read.

    The file is closed after the last block, on an error, and by `aclose`.
    """

    def __init__(self, file: LocalFile, start: int, stop: int, threads: Executor) -> None:
        self._file = file
        self._next = start
        self._stop = stop
        self._threads = threads
        self._reading: Future[bytes] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        reading = self._reading or self._begin()
        if reading is None:
            raise StopAsyncIteration
        try:
            block = await asyncio.wrap_future(reading)
        except BaseException:
            self._end()
            raise
        self._reading = self._begin()
        return block

    def _begin(self) -> Future[bytes] | None:
        """Begin to read the next block; without one, let go of the file."""
        start, self._next = self._next, min(self._next + BLOCK, self._stop)
        if start == self._next:
            self._end()
            return None
        # One at a time: with two threads at once, each with its own heap, the C library gives every block's memory
        # back to the system and takes it anew, at twice the cost of the reading.
        return self._threads.submit(self._file.read, start, self._next - start)

    async def aclose(self) -> None:
        """End the reading; waits for nothing, so it may be called while being cancelled."""
        self._end()

    def _end(self) -> None:
        self._next = self._stop
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
        self._file.close()


async def open_in_thread(threads: Executor, opening: Callable[[], LocalFile]) -> LocalFile:
    """Open a file in a thread; if nobody waits for it any more by then, close it."""
    future = threads.submit(opening)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        future.add_done_callback(_close_opened)
        raise


def _close_opened(future: Future[LocalFile]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
