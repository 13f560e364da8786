"""Downloading many files at once: what is missing, in parts where files are large, and none of it twice."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wildcast._disk import in_thread
from wildcast._download import Destination, check_no_directory
from wildcast._errors import DiskFullError, MissingFileError, NoListingError, shown
from wildcast._listing import Entry, Expected, Listing
from wildcast._parts import PART, SMALL, PartedFile, RangesIgnoredError, is_right, partial_of
from wildcast._patterns import pattern_of
from wildcast._progress import DownloadBar
from wildcast._publication import PublicationReader
from wildcast._sessions import connections

_CHECKED_AT_A_TIME = 4


class Wanted(NamedTuple):
    """A file that is to be at `target`."""

    path: str
    expected: Expected
    target: Path


class Download:
    """Brings files of a publication below a directory.

    At most 64 requests are in flight, with at most `SMALL` bytes of each in memory; a large file arrives in parts.

    Parameters
    ----------
    reader
        Whose files they are.
    bar
        Shows how far it is.
    overwrite
        Whether a file that is there, and is not the one to be downloaded, is replaced.
    """

    def __init__(self, reader: PublicationReader, bar: DownloadBar, *, overwrite: bool = True) -> None:
        self._reader, self._bar, self._overwrite = reader, bar, overwrite

    async def run(self, dest: Path, pattern: str | None) -> list[Path]:
        """Download what `pattern` names; return where all of it is.

        Raises
        ------
        MissingFileError
            If the pattern names nothing.
        InvalidPatternError
            If it cannot be read.
        UnsafePathError
            If a file would be written outside `dest`, or over another one of them.
        FileExistsError
            If another file is there, and is not to be overwritten; if a directory is where a file is to be, or the
            other way round.
        DiskFullError
            If there is not enough space.
        ReadError
            If a file cannot be read.
        """
        listing = await self._reader.listing()
        if listing is None:
            raise NoListingError("Nothing says which files there are; download them one by one, with `download_file`.")
        wanted = await asyncio.to_thread(_plan, listing, dest, pattern)
        missing = [file async for file in self._missing(wanted)]
        await asyncio.to_thread(check_space, dest, missing)
        self._bar.begin(sum(file.expected.size for file in missing))
        await self._fetch_all(missing)
        return [file.target for file in wanted]

    async def _missing(self, wanted: list[Wanted]) -> AsyncIterator[Wanted]:
        """Yield what is not there already, or not as it should be."""
        limit = asyncio.Semaphore(_CHECKED_AT_A_TIME)

        async def check(file: Wanted) -> bool:
            async with limit:
                return await asyncio.to_thread(is_right, file.target, file.expected)

        there = await asyncio.to_thread(_there, wanted)
        right = dict(zip(there, await asyncio.gather(*map(check, there)), strict=True))
        others = [file.target for file in there if not right[file]]
        if others and not self._overwrite:
            raise FileExistsError(
                f"{others[0]} is there already, and is another file ({len(others)} such); move it away, download "
                "elsewhere, or say overwrite=True."
            )
        for file in wanted:
            if not right.get(file):
                yield file

    async def _fetch_all(self, missing: list[Wanted]) -> None:
        begun: list[PartedFile] = []
        jobs = self._jobs(missing, begun)
        lock = asyncio.Lock()

        async def work() -> None:
            while True:
                async with lock:  # A generator runs for one caller at a time.
                    job = await anext(jobs, None)
                if job is None:
                    return
                await job

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(connections(), sum(_parts_of(file) for file in missing))):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await jobs.aclose()
            for file in begun:
                await in_thread(file.close)

    async def _jobs(self, missing: list[Wanted], begun: list[PartedFile]) -> Any:
        """Yield what can be done at the same time, the parts of large files first: they take longest."""
        for wanted in sorted(missing, key=lambda file: -file.expected.size):
            if (
                self._reader.expected(wanted.path) is None
                or wanted.expected.crc is None
                or wanted.expected.size <= SMALL
            ):
                yield self._whole(wanted)
            else:
                file = PartedFile(wanted.target, wanted.path, wanted.expected)
                begun.append(file)
                numbers = await file.begin()
                self._bar.add(file.done)
                if not numbers:
                    await file.finish()
                for number in numbers:
                    yield self._part(file, wanted, number)

    async def _whole(self, wanted: Wanted) -> None:
        done = 0

        def show(now: int, _total: int | None) -> None:
            nonlocal done
            self._bar.add(now - done)
            done = now

        await self._reader.download(wanted.path, wanted.target, show)

    async def _part(self, file: PartedFile, wanted: Wanted, number: int) -> None:
        if file.is_whole_stream:
            return
        try:
            await self._reader.receive_part(file, wanted.path, number, self._bar.add)
        except RangesIgnoredError:
            await self._whole_instead(file, wanted)
        else:
            if file.is_complete and not file.is_whole_stream:
                await file.finish()

    async def _whole_instead(self, file: PartedFile, wanted: Wanted) -> None:
        if not file.is_whole_stream:
            file.is_whole_stream = True
            self._bar.add(-file.done)
            await self._whole(wanted)


def _parts_of(file: Wanted) -> int:
    return 1 if file.expected.size <= SMALL else -(-file.expected.size // PART)


def _plan(listing: Listing, dest: Path, pattern: str | None) -> list[Wanted]:
    entries = list(select(listing, pattern))
    if not entries and pattern is not None:
        raise MissingFileError(MissingFileError.advised(f"Nothing in this result is named by {shown(pattern)}"))
    destination = Destination(dest)
    destination.check_apart([entry.path for entry in entries])
    return [
        Wanted(entry.path, expected, destination.target(entry.path))
        for entry in entries
        if (expected := listing.expected(entry.path)) is not None
    ]


def select(listing: Listing, pattern: str | None) -> Iterator[Entry]:
    """Yield the files that a pattern names: a file, a directory with all below it, or a glob (``*``, ``?``, ``**``)."""
    plain = (pattern or "").strip("/")
    size = listing.size(plain)
    if size is not None:
        yield Entry(plain, size)
    elif not plain or listing.is_directory(plain):
        yield from listing.below(plain)
    else:
        matches = pattern_of(plain).match
        yield from (entry for entry in listing.below("") if matches(entry.path))


def check_space(dest: Path, missing: list[Wanted]) -> None:
    """Hold that there is space for what is missing.

    Raises
    ------
    DiskFullError
        If there is not.
    """
    needed = sum(file.expected.size - _begun(file) for file in missing)
    free = shutil.disk_usage(dest).free
    if needed > free:
        raise DiskFullError(
            f"{dest} has {free / 1e9:.2f} GB free and the download needs {needed / 1e9:.2f} GB; free some, download "
            "elsewhere, or less of it with a pattern."
        )


def _there(wanted: list[Wanted]) -> list[Wanted]:
    there = [file for file in wanted if os.path.lexists(file.target)]
    for file in there:
        check_no_directory(file.target)
    return there


def _begun(file: Wanted) -> int:
    """Return how many bytes of a file that was begun are on disk already."""
    if file.expected.crc is None:
        return 0
    try:
        blocks = getattr(partial_of(file.target, file.path, file.expected).lstat(), "st_blocks", 0)
    except FileNotFoundError:
        return 0
    return min(blocks * 512, file.expected.size)
