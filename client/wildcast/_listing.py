"""The files of a publication, as its manifest lists them."""

import binascii
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Self

from msgspec.structs import replace

from wildcast.contract.manifest import FileRow, ManifestError, decode_manifest
from wildcast.contract.naming import RESERVED, is_metadata

_AFTER_SLASH = chr(ord("/") + 1)
_CRC_BYTES = 8


_EXCLUDED_BY = {
    "zarr.json": (".zgroup", ".zarray"),
    ".zgroup": ("zarr.json", ".zarray"),
    ".zarray": ("zarr.json", ".zgroup"),
    ".zattrs": ("zarr.json", ".zmetadata"),
    ".zmetadata": ("zarr.json", ".zgroup", ".zarray"),
}
"""By what beside it zarr's metadata will not come any more, or are not needed: a node is an array or a group, of one
format, and consolidated metadata, which repeat the others, are written last."""


class Entry(NamedTuple):
    """A file or directory: its path, and its size in bytes, which a directory does not have."""

    path: str
    size: int | None
    etag: str | None = None
    """As the store tells it of a file that nothing lists."""


class Expected(NamedTuple):
    """What a file must be like, as far as that is known."""

    size: int
    """In bytes."""
    crc: int | None = None
    """CRC64NVME of the whole file."""
    version: int = 0
    """`version_of` its ETag; 0 where it is not known."""


class Listing:
    """Files in the order of their paths, and the directories that these imply.

    Paths are relative to the publication, without a leading slash; the publication itself is ``""``. Beside its path a
    file takes 40 bytes of memory, so that a million of them can be known.

    Parameters
    ----------
    sizes
        Each file's size in bytes.
    """

    is_partial = False
    """Whether it says itself that it is of what was there while the execution still ran, and so may grow."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._paths = sorted(sizes)
        self._sizes = array("q", map(sizes.__getitem__, self._paths))
        self._versions, self._crcs = array("Q"), array("Q")
        self._without_crc: frozenset[int] = frozenset()

    @classmethod
    def of_rows(cls, rows: Iterable[FileRow]) -> Self:
        """Keep what tells one version of a file from another; `rows` are in the order of their paths.

        Raises
        ------
        ManifestError
            If a checksum is none.
        """
        listing, without = cls({}), []
        for position, row in enumerate(rows):
            listing._paths.append(row.path)
            listing._sizes.append(row.size)
            listing._versions.append(0 if _is_of_inode(row) else version_of(row.etag))
            listing._crcs.append(_number(row) if row.crc64nvme else 0)
            if not row.crc64nvme:
                without.append(position)
        listing._without_crc = frozenset(without)
        return listing

    @classmethod
    def of_manifest(cls, data: bytes, directory: str = "", *, is_partial: bool = False) -> Self:
        """Keep what a manifest lists in a directory of its publication; paths are relative to that.

        Parameters
        ----------
        data
            The manifest, or, of the same form, the list of what is there so far.
        directory
            Empty for the publication itself.
        is_partial
            Which of them it is.

        Raises
        ------
        ManifestError
            If it cannot be understood.
        """
        rows: Iterable[FileRow] = decode_manifest(data).rows
        if directory:
            start = f"{directory}/"
            below = (row for row in rows if row.path.startswith(start))
            rows = (replace(row, path=row.path.removeprefix(start)) for row in below)
        listing = cls.of_rows(rows)
        listing.is_partial = is_partial
        return listing

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"Listing({len(self)} files)"

    @property
    def tells_versions(self) -> bool:
        """Whether it is of a manifest or one of its form, and so knows checksums and ETags."""
        return len(self._crcs) == len(self._paths)

    def expected(self, path: str) -> Expected | None:
        """Return what a file must be like; None if there is no such file."""
        position = bisect_left(self._paths, path)
        if position == len(self._paths) or self._paths[position] != path:
            return None
        if not self.tells_versions:
            return Expected(self._sizes[position])
        crc = None if position in self._without_crc else self._crcs[position]
        return Expected(self._sizes[position], crc, self._versions[position])

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes; None if there is no such file."""
        found = self.expected(path)
        return None if found is None else found.size

    def is_directory(self, path: str) -> bool:
        """Whether any file lies below `path`."""
        first, last = self._bounds(path)
        return first < last

    def stores(self) -> list[str]:
        """Return the directories that are zarr stores, and lie in no other one."""
        found: dict[str, None] = {}
        for directory in sorted({path.rpartition("/")[0] for path in self._paths if is_metadata(path)}):
            if found.keys().isdisjoint(_above(directory)):
                found[directory] = None
        return list(found)

    def may_grow_by(self, path: str) -> bool:
        """Whether `path`, which is not listed, could be there once the rest of a zarr store is."""
        directory, _, name = path.rpartition("/")
        beside = (f"{directory}/{other}".lstrip("/") for other in _EXCLUDED_BY.get(name, ()))
        return not self.is_directory(path) and all(self.size(other) is None for other in beside)

    def entry(self, path: str) -> Entry | None:
        """Return what is at `path`; None for nothing."""
        size = self.size(path)
        if size is None and not self.is_directory(path) and path:
            return None
        return Entry(path, size)

    def below(self, path: str) -> Iterator[Entry]:
        """Yield every file below the directory `path`, in order."""
        for position in range(*self._bounds(path)):
            yield Entry(self._paths[position], self._sizes[position])

    def children(self, path: str) -> Iterator[Entry]:
        """Yield the files and directories directly in `path`, in order."""
        position, last = self._bounds(path)
        start = len(path) + 1 if path else 0
        while position < last:
            found = self._paths[position]
            cut = found.find("/", start)
            if cut < 0:
                yield Entry(found, self._sizes[position])
                position += 1
            else:
                yield Entry(found[:cut], None)
                position = bisect_left(self._paths, found[:cut] + _AFTER_SLASH, position, last)

    def _bounds(self, path: str) -> tuple[int, int]:
        if not path:
            return 0, len(self._paths)
        first = bisect_left(self._paths, f"{path}/")
        return first, bisect_left(self._paths, path + _AFTER_SLASH, first)


def is_reserved(path: str) -> bool:
    """Whether `path` is wildcast's own, which no list has."""
    return is_below(path, RESERVED)


def is_below(path: str, directory: str) -> bool:
    """Whether `path` is the directory or lies in it."""
    return not directory or path == directory or path.startswith(f"{directory}/")


def _above(path: str) -> Iterator[str]:
    """Yield every directory that `path` lies in, from the publication itself on."""
    yield ""
    position = path.find("/")
    while position >= 0:
        yield path[:position]
        position = path.find("/", position + 1)


def version_of(etag: str | None) -> int:
    """Return a number for an ETag that is the same for all its forms, and in this process only; 0 for none.

    A CDN that compresses makes a strong ETag weak, and stores write theirs with quotes or without.
    """
    plain = (etag or "").strip().removeprefix("W/").strip('"')
    # A number takes a tenth of the text's memory, and comparing is all that is done with it.
    return hash(plain) & 0xFFFF_FFFF_FFFF_FFFF | 1 if plain else 0


def _is_of_inode(row: FileRow) -> bool:
    """Whether an ETag tells inode, time and size of a file on disk, as wildcast's first manifests had them.

    A copy of the same bytes has another, as one that was restored from a backup.
    """
    return row.etag.count("-") == 2 and row.etag.strip('"').endswith(f"-{row.size:x}")  # noqa: PLR2004 - three numbers


def _number(row: FileRow) -> int:
    try:
        octets = binascii.a2b_base64(row.crc64nvme, strict_mode=True)
    except ValueError:
        octets = b""
    if len(octets) != _CRC_BYTES:
        raise ManifestError(f"the manifest's checksum of {row.path!r} is none")
    return int.from_bytes(octets)
