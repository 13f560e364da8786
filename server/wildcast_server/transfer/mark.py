"""The mark in an output directory that part of the output is not in it, but was streamed into a store.

What was streamed is known from a ledger that lies elsewhere. Were that lost, the directory alone would look like a
whole output with less in it: a zarr store without its chunks, which readers fill up. So the directory itself says what
the ledger has to tell.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from wildcast.contract.naming import RESERVED
from wildcast_server.transfer.ledger import LedgerRow

MARK_PATH = f"{RESERVED}/streamed.json"
"""Relative to the output directory; never published."""

PARTIAL_MARK_PATH = f"{MARK_PATH}.partial"


class StreamMark(msgspec.Struct, frozen=True):
    """What an output directory says of what was streamed."""

    prefix: str
    """Below which."""
    rows: int | None = None
    """How many objects there were when the run ended; None until then."""
    digest: str | None = None
    """SHA-256 of their paths, sizes and checksums; None until then."""

    @classmethod
    def of(cls, prefix: str, rows: Mapping[str, LedgerRow]) -> "StreamMark":
        """Describe all that a run streamed, when it has ended."""
        return cls(prefix, len(rows), _digest(rows))

    def is_of(self, rows: Mapping[str, LedgerRow]) -> bool:
        """Whether these are all that the run streamed, and nothing else."""
        return self.rows == len(rows) and self.digest == _digest(rows)


def write_mark(directory: Path, mark: StreamMark) -> None:
    """Write the mark into an output directory, in place of an earlier one; raises `OSError`."""
    path, partial = directory / MARK_PATH, directory / PARTIAL_MARK_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(mark))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_mark(directory: Path) -> StreamMark | None:
    """Return the mark in an output directory, or None if nothing of it was streamed.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is damaged.
    """
    try:
        data = (directory / MARK_PATH).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return msgspec.json.decode(data, type=StreamMark)


def _digest(rows: Mapping[str, LedgerRow]) -> str:
    lines = (msgspec.json.encode((path, rows[path].size, rows[path].crc64nvme)) for path in sorted(rows))
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
