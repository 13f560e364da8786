"""Byte ranges as a client asks for them (RFC 9110 §14) and as bytes are counted here."""

import re
from dataclasses import dataclass

_RANGES = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE | re.ASCII)
_FAR = 2**62  # behind the end of any object, and within what every store's client can count


@dataclass(frozen=True)
class RequestedRange:
    """The bytes from `first` to `last`, both inclusive; to the end if `last` is None."""

    first: int
    last: int | None


@dataclass(frozen=True)
class RequestedSuffix:
    """The last `length` bytes, or all where there are fewer."""

    length: int


Requested = RequestedRange | RequestedSuffix


@dataclass(frozen=True)
class Span:
    """The bytes from `start` (inclusive) to `stop` (exclusive)."""

    start: int
    stop: int


def parse_range(header: str | None) -> Requested | None:
    """Read a ``Range`` header.

    None means the whole object: no header, another unit, junk, a range that ends before it begins, and several ranges
    (RFC 9110 §14.2 lets a server ignore each of them).
    """
    match = _RANGES.fullmatch(header or "")
    if match is None or match[0].rstrip().endswith("=-"):
        return None
    first, last = (min(int(text[:20]), _FAR) if text else None for text in match.groups())
    if first is None:
        return None if last is None else RequestedSuffix(last)
    if last is not None and last < first:
        return None
    return RequestedRange(first, last)


def resolve(requested: Requested | None, size: int) -> Span | None:
    """Say which of an object's `size` bytes were asked for; None if the range is not satisfiable (RFC 9110 §14.1.2)."""
    match requested:
        case None:
            return Span(0, size)
        case RequestedSuffix(length):
            return Span(max(size - length, 0), size) if length else None
        case RequestedRange(first, last):
            if first >= size:
                return None
            return Span(first, size if last is None else min(last + 1, size))
