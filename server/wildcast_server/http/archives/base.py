"""What the archive formats have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

WHOLE_BYTES = 4 << 20
"""A file up to this size (4 MiB) is held whole before its header is written, so that this can have its checksum."""

FILE_MODE = 0o644
"""The permissions of every file."""


class Entry(NamedTuple):
    """A file in an archive."""

    name: str
    """With slashes, relative; at most some thousand bytes of UTF-8."""
    size: int
    """In bytes."""


class ArchiveFormat(ABC):
    """Writes archives whose every byte is settled by the entries, the files' bytes, and one time."""

    suffix: str
    """Of the archive's name, without its dot."""
    media_type: str

    @abstractmethod
    def length(self, entries: Iterable[Entry]) -> int:
        """Return how many bytes `stream` will yield for these entries."""

    @abstractmethod
    def stream(
        self, entries: Iterable[Entry], bodies: Iterable[Iterable[bytes]], modified: datetime
    ) -> Iterator[bytes]:
        """Yield the archive.

        Parameters
        ----------
        entries
            Can be iterated several times.
        bodies
            The bytes of each, in the same order and of just the announced size: whoever reads them checks that. Each
            is read to its end before the next is asked for.
        modified
            The time that every file gets; aware.
        """
