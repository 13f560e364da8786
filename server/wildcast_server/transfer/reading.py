"""Read a file once, and notice whether it is still the one that was scanned."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from wildcast_server.errors import FileChangedError, UnpublishableFileError
from wildcast_server.transfer.files import LocalFile

# No link is followed, and a FIFO that took the file's place does not block.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def read_unchanged(file: LocalFile) -> bytes:
    """Return the whole of a file that is small.

    One look at the file suffices, after its bytes were read: whatever happened to it before shows then, too.

    Raises
    ------
    FileChangedError
        If it is gone, or is no longer the file that was scanned.
    UnpublishableFileError
        If it cannot be read.
    """
    descriptor = _open(file)
    try:
        try:
            data = os.read(descriptor, file.size + 1)
        except OSError as error:
            check_unchanged(file, os.fstat(descriptor))
            raise _unreadable(file, error) from error
        check_unchanged(file, os.fstat(descriptor))
        if len(data) == file.size:
            return data
        # A regular file gives all of its bytes at once, but for some network file systems.
        os.lseek(descriptor, 0, os.SEEK_SET)
        return OpenFile(file, descriptor).read()
    finally:
        os.close(descriptor)


@contextmanager
def open_unchanged(file: LocalFile) -> Iterator["OpenFile"]:
    """Open a file for reading.

    Raises
    ------
    FileChangedError
        If it is gone, or is no longer the file that was scanned.
    UnpublishableFileError
        If it cannot be read.
    """
    descriptor = _open(file)
    try:
        check_unchanged(file, os.fstat(descriptor))
        yield OpenFile(file, descriptor)
    finally:
        os.close(descriptor)


def _open(file: LocalFile) -> int:
    try:
        return os.open(file.location, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise FileChangedError(f"{file.path} disappeared while it was being published") from error
        raise _unreadable(file, error) from error


class OpenFile:
    """A file being read from its beginning to its end.

    Parameters
    ----------
    file
        As it was scanned.
    descriptor
        Open for reading.
    """

    def __init__(self, file: LocalFile, descriptor: int) -> None:
        self._file = file
        self._descriptor = descriptor

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield `size` bytes at a time; the last piece, and only that, may be shorter, and none is empty.

        The file is checked once more before the last piece is yielded, so whoever has them all has one file.

        Raises
        ------
        FileChangedError
            If the file was written since the scan.
        """
        left = self._file.size
        while left:
            piece = self._read(min(size, left))
            left -= len(piece)
            if not left:
                self._check_end()
            yield piece

    def read(self) -> bytes:
        """Return the whole file; raises as `pieces` does."""
        data = self._read(self._file.size)
        self._check_end()
        return data

    def _read(self, size: int) -> bytes:
        chunks: list[bytes] = []
        while size:
            chunk = self._read_some(size)
            if not chunk:
                raise _changed(self._file, "became shorter")
            chunks.append(chunk)
            size -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _read_some(self, size: int) -> bytes:
        try:
            return os.read(self._descriptor, size)
        except OSError as error:
            raise _unreadable(self._file, error) from error

    def _check_end(self) -> None:
        if self._read_some(1):
            raise _changed(self._file, "became longer")
        check_unchanged(self._file, os.fstat(self._descriptor))


def check_unchanged(file: LocalFile, now: os.stat_result) -> None:
    """Raise `FileChangedError` unless `now` is of the file that was scanned, of the same size and age."""
    if now.st_ino != file.inode or now.st_dev != file.device:
        raise _changed(file, "was replaced")
    if now.st_size != file.size:
        raise _changed(file, "became longer" if now.st_size > file.size else "became shorter")
    if now.st_mtime_ns != file.mtime_ns:
        raise _changed(file, "was rewritten")


def _changed(file: LocalFile, how: str) -> FileChangedError:
    return FileChangedError(f"{file.path} {how} while it was being published; end the writing before publishing")


def _unreadable(file: LocalFile, error: OSError) -> UnpublishableFileError:
    return UnpublishableFileError(f"{file.path} cannot be read: {error.strerror}")
