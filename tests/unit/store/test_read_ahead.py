"""Streams of files on local disk: what is read, when, and when the descriptor is closed."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wildcast_server.errors import AccessDeniedError, NotFoundError, StoreIoError
from wildcast_server.store._errors import file_error
from wildcast_server.store._read_ahead import BLOCK, LocalFile, ReadAhead, open_in_thread

DATA = bytes(range(256)) * 4 * 3000  # three blocks but for a bit
GIGA = 1 << 30


class Reads(Executor):
    """Runs what it is given in a thread, and notes the places and lengths of reads."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(2)
        self.noted: list[tuple[int, int]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **_options: Any) -> Future[Any]:
        if len(args) == 2:
            self.noted.append(args)
        return self.pool.submit(work, *args)


class Held(Executor):
    """Runs what it is given when a test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **_options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: work(*args)))
        return future

    def run(self) -> None:
        for future, work in self.waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(work())


@pytest.fixture
def reads():
    """An executor that notes what is read."""
    reads = Reads()
    yield reads
    reads.pool.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of almost three blocks."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def opened(path: Path) -> LocalFile:
    return LocalFile(os.fsencode(path), path.as_uri())


def is_open(path: Path) -> bool:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(link.readlink())
        except FileNotFoundError:  # the descriptor that lists them
            continue
    return any(each == path or str(each) == f"{path} (deleted)" for each in found)


async def drain(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, len(DATA)), (0, 1), (5, 5), (BLOCK - 1, BLOCK + 1), (BLOCK, 2 * BLOCK), (len(DATA) - 1, len(DATA))],
)
def test_a_span_is_read_and_nothing_else(reads: Reads, path: Path, start: int, stop: int) -> None:
    """Its bytes in order, each once; nothing before or behind it; and the file is closed then."""
    assert asyncio.run(drain(ReadAhead(opened(path), start, stop, reads))) == DATA[start:stop]
    read = [position for first, length in reads.noted for position in (first, first + length)]
    assert sum(length for _, length in reads.noted) == stop - start
    assert not read or (min(read), max(read)) == (start, stop)
    assert max((length for _, length in reads.noted), default=0) <= BLOCK
    assert not is_open(path)


@pytest.mark.parametrize("start", [0, 4 * GIGA - 100], ids=["start", "end"])
def test_a_hundred_bytes_of_four_gigabytes_are_one_small_read(reads: Reads, tmp_path: Path, start: int) -> None:
    """At the end as at the start: no prefix is read."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(4 * GIGA)
    assert asyncio.run(drain(ReadAhead(opened(path), start, start + 100, reads))) == bytes(100)
    assert reads.noted == [(start, 100)]


def test_one_block_is_read_ahead(reads: Reads, path: Path) -> None:
    """While a block is in the consumer's hands the next is being read, and no other: memory is bounded."""

    async def consume() -> None:
        chunks = ReadAhead(opened(path), 0, len(DATA), reads)
        assert reads.noted == []
        for count in (2, 3, 3):
            await anext(chunks)
            assert len(reads.noted) == count
        await chunks.aclose()

    asyncio.run(consume())


def test_a_stream_that_is_left_closes_its_file(reads: Reads, path: Path) -> None:
    """At once, read or not; a second time does no harm, and it has ended then."""

    async def leave(blocks: int) -> None:
        chunks = ReadAhead(opened(path), 0, len(DATA), reads)
        for _ in range(blocks):
            await anext(chunks)
        await chunks.aclose()
        await chunks.aclose()
        assert await anext(chunks, None) is None
        reads.pool.submit(int).result()

    for blocks in (0, 1, 2, 3):
        asyncio.run(leave(blocks))
        reads.pool.shutdown()
        assert not is_open(path)
        reads.pool = ThreadPoolExecutor(2)


def test_a_read_in_another_thread_keeps_the_descriptor(path: Path) -> None:
    """Its number would be given to the next file that is opened; it is closed when the read has ended."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(LocalFile):
        def _read(self, start: int, length: int) -> bytes:
            entered.set()
            assert go_on.wait(10)
            return super()._read(start, length)

    file = Slow(os.fsencode(path), path.as_uri())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(file.read, 0, 10)
        assert entered.wait(10)
        file.close()
        assert is_open(path)
        go_on.set()
        assert reading.result() == DATA[:10]
    del file
    assert not is_open(path)


def test_a_cancelled_consumer_closes_the_file(path: Path) -> None:
    """A read that has not begun by then reads nothing."""
    held = Held()

    async def cancel() -> None:
        task = asyncio.create_task(drain(ReadAhead(opened(path), 0, len(DATA), held)))
        await asyncio.sleep(0)
        assert held.waiting
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert not is_open(path)
    held.run()
    assert all(future.cancelled() for future, _ in held.waiting)


@pytest.mark.parametrize("begun", [False, True])
def test_an_opening_that_nobody_waits_for_is_undone(path: Path, begun: bool) -> None:
    """The client may go away while the file is being opened."""
    held = Held()

    async def cancel() -> None:
        task = asyncio.create_task(open_in_thread(held, lambda: opened(path)))
        await asyncio.sleep(0)
        assert held.waiting
        if begun:
            held.waiting[0][0].set_running_or_notify_cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if begun:
            future, work = held.waiting[0]
            future.set_result(work())

    asyncio.run(cancel())
    assert not is_open(path)


def test_a_file_that_nobody_closed_is_closed_when_it_is_dropped(path: Path) -> None:
    """A stream may be thrown away unread."""
    file = opened(path)
    assert is_open(path)
    del file
    assert not is_open(path)


def test_a_file_that_shrinks_is_an_error(reads: Reads, path: Path) -> None:
    """Never a short stream, and never one that is filled up."""

    async def read() -> None:
        chunks = ReadAhead(opened(path), 0, len(DATA), reads)
        await anext(chunks)
        os.truncate(path, BLOCK + 10)
        await drain(chunks)

    with pytest.raises(StoreIoError, match=r"file://.* became shorter while it was read"):
        asyncio.run(read())
    assert not is_open(path)


def test_a_deleted_file_is_read_to_its_end(reads: Reads, path: Path) -> None:
    """Who has begun to read it has it."""

    async def read() -> bytes:
        chunks = ReadAhead(opened(path), 0, len(DATA), reads)
        first = await anext(chunks)
        path.unlink()  # noqa: ASYNC240 - nobody else is in this loop
        return first + await drain(chunks)

    assert asyncio.run(read()) == DATA
    assert not is_open(path)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "x"), NotFoundError),
        (NotADirectoryError(20, "x"), NotFoundError),
        (OSError(6, "x"), NotFoundError),
        (PermissionError(13, "x"), AccessDeniedError),
        (OSError(5, "x"), StoreIoError),
        (OSError("x"), StoreIoError),
    ],
)
def test_a_systems_error_is_translated(error: OSError, kind: type[Exception]) -> None:
    """By its number; only what is missing reads as missing."""
    assert type(file_error(error, "file:///a")) is kind
