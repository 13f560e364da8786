"""The files of a publication, as its manifest lists them."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_AFTER_SLASH = chr(ord("/") + 1)


class Entry(NamedTuple):
    """A file or directory: its path, and its size in bytes, which a directory does not have."""

    path: str
    size: int | None


class Listing:
    """Files in the order of their paths, and the directories that these imply.

    Paths are relative to the publication, without a leading slash; the publication itself is ``""``.

    Parameters
    ----------
    sizes
        Each file's size in bytes.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = dict(sizes)
        self._paths = sorted(self._sizes)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"Listing({len(self)} files)"

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes; None if there is no such file."""
        return self._sizes.get(path)

    def is_directory(self, path: str) -> bool:
        """Whether any file lies below `path`."""
        first, last = self._bounds(path)
        return first < last

    def entry(self, path: str) -> Entry | None:
        """Return what is at `path`; None for nothing."""
        size = self.size(path)
        if size is None and not self.is_directory(path) and path:
            return None
        return Entry(path, size)

    def below(self, path: str) -> list[str]:
        """Return every file below the directory `path`, in order."""
        first, last = self._bounds(path)
        return self._paths[first:last]

    def children(self, path: str) -> Iterator[Entry]:
        """Yield the files and directories directly in `path`, in order."""
        position, last = self._bounds(path)
        start = len(path) + 1 if path else 0
        while position < last:
            found = self._paths[position]
            cut = found.find("/", start)
            if cut < 0:
                yield Entry(found, self._sizes[found])
                position += 1
            else:
                yield Entry(found[:cut], None)
                position = bisect_left(self._paths, found[:cut] + _AFTER_SLASH, position, last)

    def _bounds(self, path: str) -> tuple[int, int]:
        if not path:
            return 0, len(self._paths)
        first = bisect_left(self._paths, f"{path}/")
        return first, bisect_left(self._paths, path + _AFTER_SLASH, first)
