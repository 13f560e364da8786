"""A large file that arrives in parts, in any order, and goes on after a kill where it was."""

import asyncio
import hashlib
import os
import secrets
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import aiohttp

from wildcast._checksum import crc64nvme, joined
from wildcast._disk import Writer, claimed, in_thread, opened
from wildcast._download import check_no_directory
from wildcast._errors import StaleObjectError, TransferBrokenError, shown
from wildcast._listing import Expected, version_of
from wildcast._ranges import ByteRange
from wildcast._receive import check_etag, check_length, pour, range_of
from wildcast._transport import PARTIAL

PART = 8 << 20
"""Bytes of one part."""

SMALL = 1 << 20
"""Bytes of a file that is kept in memory until it is whole."""

_RECORD = struct.Struct("<IQ")
_BLOCK = 1 << 20


class PartedFile:
    """A file that is written beside its target, part by part, and takes its name once its checksum is right.

    Beside the partial file lies a journal: for each part that has arrived, its number and checksum. Both are named
    after the very version of the file, so a later run finds them, and keeps the parts that still have their checksum.
    They are one run's at a time; another, in this process or another one, has a partial file of its own meanwhile.

    Parameters
    ----------
    target
        Where the file is to be; its directory exists.
    path
        The file's path in the publication.
    expected
        What the manifest says about it, with a checksum.
    """

    def __init__(self, target: Path, path: str, expected: Expected) -> None:
        if expected.crc is None:
            raise ValueError("a file whose checksum nobody knows is not resumed")
        self._target, self._path, self._expected = target, path, expected
        self._partial = partial_of(target, path, expected)
        self._journal: BinaryIO | None = None
        self._is_mine = self._is_ending = self._is_confirmed = False
        self._identity: os.stat_result
        self._crcs: dict[int, int] = {}
        self.is_whole_stream = False
        """Whether the server has shown that it sends no parts."""

    async def begin(self) -> list[int]:
        """Make the partial file, or check the one that is there; return the numbers of the parts that are missing."""
        recorded = await in_thread(self._begin)
        # Only read, for as long as it takes: whoever is cancelled need not wait for that.
        self._crcs = await asyncio.to_thread(self._right, recorded)
        return [number for number in range(self._count) if number not in self._crcs]

    def _begin(self) -> Mapping[int, int]:
        self._journal = claimed(self._journal_path)
        if self._journal is None:
            self._partial = self._partial.with_suffix(f".{secrets.token_hex(4)}.partial")
        self._is_mine = True
        with opened(self._partial, "ab") as file:
            file.truncate(self._expected.size)
            self._identity = os.fstat(file.fileno())
        return {} if self._journal is None else _read(self._journal)

    @property
    def _journal_path(self) -> Path:
        return self._partial.with_suffix(".parts")

    def _right(self, recorded: Mapping[int, int]) -> dict[int, int]:
        """Return what is there of that which an earlier run has recorded."""
        with opened(self._partial, "rb") as file:
            return {number: crc for number, crc in recorded.items() if self._is_there(file, number, crc)}

    def _is_there(self, file: BinaryIO, number: int, crc: int) -> bool:
        start, end = self._bounds(number)
        return start < end and _crc_of(file, start, end) == crc

    @property
    def _count(self) -> int:
        return -(-self._expected.size // PART)

    @property
    def is_complete(self) -> bool:
        """Whether all parts are there, and nobody has begun to finish it."""
        return len(self._crcs) == self._count and not self._is_ending

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(end - start for start, end in map(self._bounds, self._crcs))

    def range_of(self, number: int) -> ByteRange:
        """Return which bytes a part is; none behind the file's end."""
        return ByteRange(*self._bounds(number))

    def _bounds(self, number: int) -> tuple[int, int]:
        return number * PART, min((number + 1) * PART, self._expected.size)

    async def receive(self, response: aiohttp.ClientResponse, number: int, on_bytes: Callable[[int], None]) -> None:
        """Write a part where it belongs, and record it; `on_bytes` is told how many bytes arrived, or were in vain."""
        start, end = self._bounds(number)
        if response.status != PARTIAL:
            raise RangesIgnoredError(f"The server sends {shown(self._path)} as a whole only.")
        got = range_of(response, self._path, self._expected)
        self._check_etag(response.headers.get("ETag"))
        if (got.start, got.end) != (start, end):
            raise TransferBrokenError(f"Another part of {shown(self._path)} arrived than was asked for.")
        writer = Writer(partial(self._opened_at, start), on_bytes)
        try:
            try:
                await pour(response, self._path, end - start, writer)
            finally:
                await in_thread(writer.close)
            check_length(self._path, writer.written, end - start)
            await in_thread(self._record, number, writer.crc)
        except BaseException:
            on_bytes(-writer.written)
            raise
        self._crcs[number] = writer.crc

    def _check_etag(self, etag: str | None) -> None:
        """Hold a part to the ETag that others came with; in a store that was copied it is not the manifest's."""
        if self._is_confirmed:
            check_etag(self._path, etag, self._expected)
        elif self._expected.version:
            self._is_confirmed = version_of(etag) == self._expected.version

    def _opened_at(self, start: int) -> BinaryIO:
        """Open it at a part, if it is still the one that has the other parts."""
        with suppress(FileNotFoundError):
            file = opened(self._partial, "r+b")
            if os.path.samestat(os.fstat(file.fileno()), self._identity):
                file.seek(start)
                return file
            file.close()
        raise TransferBrokenError(f"{self._partial} was removed while it was written; download it again.")

    def _record(self, number: int, crc: int) -> None:
        if self._journal is not None:
            self._journal.write(_RECORD.pack(number, crc))
            self._journal.flush()

    async def finish(self) -> None:
        """Give the file its name, if it has the manifest's checksum.

        Raises
        ------
        StaleObjectError
            If it has not; nothing of it is left then.
        """
        self._is_ending = True
        await in_thread(self._finish)

    def _finish(self) -> None:
        crc = 0
        for number in range(self._count):
            start, end = self._bounds(number)
            crc = joined(crc, self._crcs[number], end - start)
        if crc != self._expected.crc:
            self.discard()
            raise StaleObjectError(
                f"{shown(self._path)} arrived without the manifest's checksum: the store has another version of it. "
                "Try again later, or tell the operators of the service."
            )
        with self._opened_at(0):
            pass  # It is still the one that has the parts.
        self._partial.replace(self._target)
        self._leave()

    def close(self) -> None:
        """Let go of a file that is not finished: a later run goes on with it, unless it could not find it."""
        if self._journal is None or self.is_whole_stream:
            self.discard()
        else:
            _close(self._journal)

    def discard(self) -> None:
        """Leave nothing of it."""
        if self._is_mine:
            self._partial.unlink(missing_ok=True)
            self._leave()

    def _leave(self) -> None:
        self._is_mine = False
        if self._journal is not None:
            if os.name == "nt":  # There nothing is removed that is open.
                _close(self._journal)
            self._journal_path.unlink(missing_ok=True)
            _close(self._journal)


class RangesIgnoredError(Exception):
    """The server does not send parts; the file must be read in one stream."""


def partial_of(target: Path, path: str, expected: Expected) -> Path:
    """Return the name of a partial file: the same for the same version of the same file, in every process."""
    version = hashlib.sha256(f"{path}\n{expected.size}\n{expected.crc}".encode()).hexdigest()[:16]
    # Cut, because with its ending a name may be longer than the 255 bytes that a file system takes.
    return target.with_name(f"{target.name[:50]}.{version}.partial")


def write_whole(target: Path, path: str, expected: Expected, body: bytes) -> None:
    """Write a small file, whose content is known to be right, so that it is at its name whole or not at all."""
    check_no_directory(target)
    partial = partial_of(target, path, expected)
    is_there = False
    while not is_there:
        # Not cut off first: another process may be about to give the very same file its name.
        with opened(partial, "r+b", create=True) as file:
            file.write(body)
            file.truncate()
        is_there = _has_taken_name(partial, target) or is_right(target, expected)


def _has_taken_name(partial: Path, target: Path) -> bool:
    try:
        partial.replace(target)
    except FileNotFoundError:
        return False
    return True


def is_right(file: Path, expected: Expected) -> bool:
    """Whether a file is there, itself and no link, with the manifest's checksum, or its size where there is none."""
    if file.is_symlink() or not file.is_file() or file.stat().st_size != expected.size:
        return False
    if expected.crc is None:
        return True
    with file.open("rb") as opened:
        return _crc_of(opened, 0, expected.size) == expected.crc


def _crc_of(file: BinaryIO, start: int, end: int) -> int:
    crc = 0
    file.seek(start)
    while start < end and (block := file.read(min(_BLOCK, end - start))):
        crc, start = crc64nvme(block, crc), start + len(block)
    return crc


def _close(journal: BinaryIO) -> None:
    # A record that a full disk did not take is not worth more than the error that there was.
    with suppress(OSError):
        journal.close()


def _read(journal: BinaryIO) -> dict[int, int]:
    journal.seek(0)
    data = journal.read()
    whole = len(data) // _RECORD.size * _RECORD.size
    # A kill or a full disk may have cut the last record, and another is to follow.
    journal.truncate(whole)
    return dict(_RECORD.iter_unpack(data[:whole]))
