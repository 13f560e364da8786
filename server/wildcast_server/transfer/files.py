"""The values that a transfer takes and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec


class LocalFile(msgspec.Struct, frozen=True, gc=False):
    """A file on disk as a scan found it.

    A struct and no dataclass, as is `StoredFile`: there may be a million, and the garbage collector passes them over.
    """

    path: str
    """Relative to the output directory, with slashes: what it will be called in the publication."""
    location: str
    """Where it is; absolute, and without any link."""
    size: int
    """In bytes."""
    mtime_ns: int
    device: int
    inode: int
    ctime_ns: int = 0
    """When anything of it was changed last; unlike the modification time nobody can set it back."""

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What tells whether it is the very file that was seen before, unchanged: its times, device and inode."""
        return self.mtime_ns, self.ctime_ns, self.device, self.inode

    @property
    def source(self) -> Path:
        """Where it is."""
        return Path(self.location)


class StoredFile(msgspec.Struct, frozen=True, gc=False):
    """A file whose bytes were read once, and written to a store where one was involved."""

    path: str
    """As the `LocalFile` has it."""
    key: str
    """In the store; empty if there is none."""
    size: int
    """In bytes."""
    crc64nvme: str
    """Of all its bytes, in base64 as S3 writes it."""
    etag: str | None
    """That the write returned."""
    expected_etag: str | None
    """That the write had to return if the store makes its ETags of MD5; None if nobody needs to know."""
    is_multipart: bool
    content_type: str


@dataclass(frozen=True)
class TransferProgress:
    """How far a transfer has come."""

    files_done: int
    files_total: int
    bytes_done: int
    """Acknowledged by the store, or skipped because the store holds them already."""
    bytes_total: int
    bytes_skipped: int = 0
    """Of `bytes_done`: those that were not sent, because the store held them."""
    seconds: float = 0.0
    """Since the transfer began."""

    @property
    def bytes_per_second(self) -> float | None:
        """What was sent, over the time that it took; None before anything was."""
        sent = self.bytes_done - self.bytes_skipped
        return sent / self.seconds if self.seconds > 0 and sent else None

    @property
    def seconds_left(self) -> float | None:
        """What the rest will take at this rate; None while there is no rate."""
        rate = self.bytes_per_second
        return None if rate is None else (self.bytes_total - self.bytes_done) / rate


ProgressCallback = Callable[[TransferProgress], None]
"""Called from one thread at a time, at most every 50 ms and once at the end.

What it raises ends the transfer and goes on to the caller as it is.
"""

StoredCallback = Callable[[LocalFile, StoredFile], None]
"""Called from the transfer's threads, several at a time, right after the store acknowledged a file.

What it raises ends the transfer and goes on to the caller as it is.
"""
