"""Files that lie beside a download until it has its name: opened themselves and never through a link, by one alone."""

import os
import sys
from pathlib import Path
from typing import BinaryIO, cast

from wildcast._errors import UnsafePathError

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
