"""Byte ranges as a client asks for them (RFC 9110 §14) and as bytes are counted here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_RANGES = re.compile(r"bytes=(.*)", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_FAR = 2**62  # behind the end of any object, and within what every store's client can count

MAX_RANGES = 100
"""Of one request; with more, the header is ignored (RFC 9110 §14.2 allows that, against attacks)."""


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

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return self.stop - self.start


def parse_ranges(header: str | None) -> tuple[Requested, ...]:
    """Read a ``Range`` header.

    Nothing means the whole object: no header, another unit, junk, a range that ends before it begins, and more than
    `MAX_RANGES` of them (RFC 9110 §14.2 lets a server ignore each of these). Empty members of the list are skipped
    (§5.6.1).
    """
    match = _RANGES.fullmatch(header or "")
    members = [] if match is None else [member.strip(" \t") for member in match[1].split(",", 2 * MAX_RANGES)]
    ranges = [_parse_range(member) for member in members if member]
    if len(ranges) > MAX_RANGES:
        return ()
    valid = tuple(requested for requested in ranges if requested is not None)
    return valid if len(valid) == len(ranges) else ()


def parse_range(header: str | None) -> Requested | None:
    """Read a ``Range`` header for a server that sends one range at most: several mean the whole object, None."""
    ranges = parse_ranges(header)
    return ranges[0] if len(ranges) == 1 else None


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


def resolve_all(requested: Sequence[Requested], size: int) -> list[Span]:
    """Say which of an object's `size` bytes were asked for; none if no range is satisfiable.

    Ranges that overlap or touch become one, so that no byte is sent twice; it takes the place of the first that was
    asked for of them (RFC 9110 §15.3.7.2).
    """
    spans = [span for each in requested if (span := resolve(each, size)) is not None]
    merged: list[tuple[int, Span]] = []
    for place, span in sorted(enumerate(spans), key=lambda entry: entry[1].start):
        if merged and span.start <= merged[-1][1].stop:
            first, last = merged[-1]
            merged[-1] = min(first, place), Span(last.start, max(last.stop, span.stop))
        else:
            merged.append((place, span))
    return [span for _, span in sorted(merged, key=lambda entry: entry[0])]


def _parse_range(text: str) -> Requested | None:
    match = _RANGE.fullmatch(text)
    if match is None or text == "-":
        return None
    first, last = (_number(digits) if digits else None for digits in match.groups())
    if first is None:
        return None if last is None else RequestedSuffix(last)
    return None if last is not None and last < first else RequestedRange(first, last)


def _number(digits: str) -> int:
    # Python refuses to read very long numbers, and they all mean the same here.
    return min(int(digits.lstrip("0")[:20] or "0"), _FAR)
