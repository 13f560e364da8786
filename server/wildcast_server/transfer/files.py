"""The values that a transfer takes and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LocalFile:
    """A file on disk as a scan found it."""

    path: str
    """Relative to the output directory, with slashes: what it will be called in the publication."""
    source: Path
    """Where it is; absolute, and without any link."""
    size: int
    """In bytes."""
    mtime_ns: int
    device: int
    inode: int


@dataclass(frozen=True)
class StoredFile:
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
    """Read from disk and handed to the store; the last part may still be on its way."""
    bytes_total: int


ProgressCallback = Callable[[TransferProgress], None]
"""Called from one thread at a time. What it raises ends the transfer and goes on to the caller as it is."""
