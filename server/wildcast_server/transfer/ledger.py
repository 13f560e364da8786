"""A ledger: what a store has acknowledged for one publication, on disk, so that it survives the process.

One JSON line a file, appended in a single write and never flushed to the disk itself: whoever is killed loses at most
what it had not yet written, and a machine that crashes merely sends some files again. A ledger proves nothing about
the store; whoever resumes compares it with a listing.
"""

import errno
import os
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import msgspec

from wildcast_server.transfer.files import LocalFile, StoredFile


class LedgerRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file that a store has acknowledged; the latest row of a path is the one that counts."""

    path: str
    """Relative to the publication."""
    size: int
    """In bytes."""
    crc64nvme: str
    etag: str | None
    expected_etag: str | None
    is_multipart: bool
    content_type: str
    source: tuple[int, int, int, int] | None = None
    """Of the local file when it was read; None if it never was on disk."""
    removed: bool = False
    """Whether the object was deleted again."""

    @classmethod
    def of(cls, stored: StoredFile, local: LocalFile | None = None) -> "LedgerRow":
        """Describe what was stored, and the local file that it was read from."""
        return cls(
            path=stored.path,
            size=stored.size,
            crc64nvme=stored.crc64nvme,
            etag=stored.etag,
            expected_etag=stored.expected_etag,
            is_multipart=stored.is_multipart,
            content_type=stored.content_type,
            source=None if local is None else local.identity,
        )

    @classmethod
    def gone(cls, path: str) -> "LedgerRow":
        """Say that the store does not hold this path, whatever was said before."""
        return cls(path, 0, "", None, None, is_multipart=False, content_type="", removed=True)

    def is_of(self, local: LocalFile) -> bool:
        """Whether it was this very file, unchanged since, that was stored."""
        return self.size == local.size and self.source == local.identity

    def stored(self, key: str) -> StoredFile:
        """Return the file as the transfer had returned it."""
        return StoredFile(
            path=self.path,
            key=key,
            size=self.size,
            crc64nvme=self.crc64nvme,
            etag=self.etag,
            expected_etag=self.expected_etag,
            is_multipart=self.is_multipart,
            content_type=self.content_type,
        )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerRow).decode


class Ledger:
    """Appends rows to a file; threads and processes may append to the same one.

    Parameters
    ----------
    path
        Of the file; it is made, and its directory with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._descriptor: int | None = descriptor
        # What the writer before was killed in the middle of must not take the next row along.
        self._is_torn = os.fstat(descriptor).st_size > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(self, *rows: LedgerRow) -> None:
        """Append rows, in one write.

        Raises
        ------
        OSError
            If the disk is full or fails.
        """
        line = b"".join(_encode(row) + b"\n" for row in rows)
        with self._lock:
            if self._descriptor is None:
                raise ValueError(f"the ledger {self.path} is closed")
            if self._is_torn:
                line = b"\n" + line
            # A disk that is nearly full takes a part, and that is no error to the system.
            self._is_torn = True
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._is_torn = False

    def close(self) -> None:
        """Give the file back. Idempotent."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def read_ledger(path: Path) -> dict[str, LedgerRow]:
    """Return the latest row of each path that was not removed; nothing if there is no ledger.

    Lines that are damaged, as the last one of a killed writer may be, are passed over: their files are sent again.
    """
    rows: dict[str, LedgerRow] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return rows
    for line in lines:
        try:
            row = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        rows[row.path] = row
    return {name: row for name, row in rows.items() if not row.removed}
