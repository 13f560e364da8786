"""Files that lie beside a download until it has its name.

They are opened themselves and never through a link, by one alone, and written in threads: a disk may be slow, and no
event loop is to wait for it.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar, cast

from wildcast._checksum import crc64nvme
from wildcast._errors import UnsafePathError

P = ParamSpec("P")
T = TypeVar("T")

# Windows has none, and lets few make links.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

_FAR_BEHIND = 1 << 30


def opened(path: Path, mode: str, *, create: bool = False) -> BinaryIO:
    """Open a file, as `open` does; with `create`, make it where the mode alone would not.

    It is buffered, so that what is written is written whole, or an error at the latest when it is closed.

    Raises
    ------
    UnsafePathError
        If it is a link: in a directory that others may write to, they would choose what is written to.
    """
    more = _NO_LINK | (os.O_CREAT if create else 0)
    try:
        # pathlib's own takes no opener.
        file = open(path, mode, opener=lambda name, flags: os.open(name, flags | more, 0o666))  # noqa: SIM115 - it is handed on
    except OSError:
        if path.is_symlink():
            raise UnsafePathError(f"{path} is a link, through which nothing is written; remove it.") from None
        raise
    return cast("BinaryIO", file)


def claimed(path: Path) -> BinaryIO | None:
    """Open a file to read it and to append to it, alone until it is closed; None while another has it.

    A process that dies gives it back. Where the file system has no locks, everybody gets it.

    Raises
    ------
    UnsafePathError
        If it is a link.
    """
    while True:
        file = opened(path, "a+b")
        if not _locked(file):
            file.close()
            return None
        if _is_at(path, file):
            return file
        file.close()  # Whoever had it has removed it in between.


def _locked(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # A lock there keeps others from the bytes, so it is on one that there never is.
            file.seek(_FAR_BEHIND)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do in a thread what waits for the disk; whoever is cancelled meanwhile leaves only after its end.

    So nothing is written to a file that has been closed, or has been given to others.
    """
    return await _ended(asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs)))


async def _ended(doing: asyncio.Future[T]) -> T:
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([doing])
        if not doing.cancelled():
            doing.exception()  # Heard of; the cancellation is what is raised.
        raise


class Writer:
    """Writes a file in threads, one block behind the other, and knows what it has written.

    Parameters
    ----------
    open_
        Opens the file, before the first block, at the place where that belongs.
    on_written
        Called with how many bytes more have been written.
    """

    def __init__(self, open_: Callable[[], BinaryIO], on_written: Callable[[int], None]) -> None:
        self._open, self._on_written = open_, on_written
        self._file: BinaryIO | None = None
        self._writing: asyncio.Future[None] | None = None
        self._told = 0
        self.written = self.crc = 0
        """How many bytes, and their checksum; both once it has settled."""

    async def write(self, block: Sequence[bytes]) -> None:
        """Write a block, which is in pieces, behind what is there: while the caller waits for the next one."""
        await self.settle()
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, block)

    async def settle(self) -> None:
        """Wait until everything is written; an error of that is raised here."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                await _ended(writing)
            finally:
                more, self._told = self.written - self._told, self.written
                self._on_written(more)

    def _write(self, block: Sequence[bytes]) -> None:
        file = self.open()
        for piece in block:
            file.write(piece)
            self.crc = crc64nvme(piece, self.crc)
        self.written += sum(map(len, block))

    def open(self) -> BinaryIO:
        """Return the file; it is made now if there is none yet."""
        if self._file is None:
            self._file = self._open()
        return self._file

    async def rewind(self) -> None:
        """Begin again with nothing."""
        if self._file is not None:
            await in_thread(self._cut)

    def _cut(self) -> None:
        file = self.open()
        file.seek(0)
        file.truncate()
        self._told = self.written = self.crc = 0

    def close(self) -> None:
        """Close the file; an error says that not all of it was written."""
        if self._file is not None:
            self._file.close()
