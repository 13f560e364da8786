"""Byte ranges: what is asked for, and whether what came back is that (RFC 9110 §14)."""

import re
from dataclasses import dataclass

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a file, in bytes.

    Parameters
    ----------
    start
        The first byte; negative for the last ``-start`` bytes, and then `end` is None.
    end
        The byte behind the last one; None for the file's end.
    """

    start: int
    end: int | None = None

    @property
    def header(self) -> str:
        """The value of a ``Range`` header."""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start}-{'' if self.end is None else self.end - 1}"

    def within(self, size: int) -> tuple[int, int]:
        """Return the first byte and the one behind the last, in a file of `size` bytes."""
        start = max(size + self.start, 0) if self.start < 0 else self.start
        return start, size if self.end is None else min(self.end, size)

    def satisfiable(self, size: int) -> bool:
        """Whether a file of `size` bytes has any byte of it."""
        start, end = self.within(size)
        return start < end


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a partial answer says it holds: bytes `start` up to and without `end`, of `size`."""

    start: int
    end: int
    size: int


def parse_content_range(value: str | None) -> ContentRange | None:
    """Read a ``Content-Range`` header; None where it is absent, is no range of bytes, or hides the size."""
    found = _CONTENT_RANGE.fullmatch((value or "").strip())
    if found is None:
        return None
    first, last, size = (int(number) for number in found.groups())
    return ContentRange(first, last + 1, size)
