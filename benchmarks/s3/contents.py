"""What an endpoint holds: objects in the order of their keys, and uploads that nobody has ended."""

import itertools
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

LAST = "\U0010ffff"
"""Behind every character of a key."""


@dataclass(slots=True)
class Stored:
    """What is kept of an object, or of a part."""

    size: int
    """In bytes."""
    etag: str
    """In quotes."""
    crc: int | None = None
    """Its CRC64NVME, if it is known."""
    body: bytes | None = None
    """None if it was thrown away."""
    headers: tuple[str, ...] = ()
    """Lines that are given back with it."""


@dataclass(slots=True)
class Upload:
    """A multipart upload that was begun."""

    key: str
    headers: tuple[str, ...]
    began: float
    """Seconds since the epoch."""
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A part of a listing."""

    keys: list[str]
    prefixes: list[str]
    after: str | None
    """Where the next page begins, or None if there is none."""


class Contents:
    """One bucket's objects and unfinished uploads; every bucket is this one."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.puts: Counter[str] = Counter()
        self._sorted: list[str] | None = None

    def put(self, key: str, stored: Stored) -> None:
        """Keep an object."""
        if key not in self.objects:
            self._sorted = None
        self.objects[key] = stored
        self.puts[key] += 1

    def remove(self, key: str) -> None:
        """Forget an object."""
        if self.objects.pop(key, None) is not None:
            self._sorted = None

    def begin(self, key: str, headers: tuple[str, ...]) -> str:
        """Begin an upload; return its id."""
        upload = f"upload-{next(self._numbers):08d}"
        self.uploads[upload] = Upload(key, headers, time.time())
        return upload

    def etag(self) -> str:
        """Return an ETag, with its quotes, that nothing else has."""
        return f'"{next(self._numbers):032x}"'

    def page(self, prefix: str, after: str, delimiter: str, limit: int) -> Page:
        """List up to `limit` keys and common prefixes below `prefix` and behind `after`."""
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        if not delimiter:
            return self._plain(self._sorted, prefix, after, limit)
        return self._grouped(self._sorted, prefix, after, delimiter, limit)

    def _plain(self, keys: list[str], prefix: str, after: str, limit: int) -> Page:
        begin = max(bisect_left(keys, prefix), bisect_right(keys, after))
        end = min(bisect_left(keys, prefix + LAST), begin + limit) if prefix else min(len(keys), begin + limit)
        more = end < len(keys) and end > begin and keys[end].startswith(prefix)
        return Page(keys[begin:end], [], keys[end - 1] if more else None)

    def _grouped(self, keys: list[str], prefix: str, after: str, delimiter: str, limit: int) -> Page:
        found: list[str] = []
        groups: list[str] = []
        at = max(bisect_left(keys, prefix), bisect_right(keys, after))
        last = after
        while at < len(keys) and keys[at].startswith(prefix):
            if len(found) + len(groups) == limit:
                return Page(found, groups, last)
            head, cut, _ = keys[at][len(prefix) :].partition(delimiter)
            if cut:
                groups.append(prefix + head + cut)
                last = groups[-1] + LAST
                at = bisect_left(keys, last)
            else:
                found.append(keys[at])
                last = keys[at]
                at += 1
        return Page(found, groups, None)

    def stats(self) -> Mapping[str, object]:
        """Return what a test or benchmark wants to know."""
        return {
            "objects": len(self.objects),
            "bytes": sum(stored.size for stored in self.objects.values()),
            "puts": self.puts.total(),
            "puts_over_one": {key: count for key, count in self.puts.items() if count > 1},
            "unfinished_uploads": [upload.key for upload in self.uploads.values()],
        }
