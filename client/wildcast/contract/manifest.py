"""The manifest: which objects a publication has, with size, checksum and ETag of each.

It is the truth about a publication: a key that it lists must exist, and one that it lacks was never written.
"""

import gzip
import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from wildcast.contract.naming import InvalidPathError, check_keys

VERSION = 1
MAX_FILES = 1_000_000

DatasetFormat = Literal["zarr2", "zarr3", "netcdf"]

Verification = Literal["crc64nvme", "md5-etag", "read-back", "local"]
"""How a store was shown to hold the bytes that were sent.

``crc64nvme``: the store checked the checksum sent along; ``md5-etag``: its ETag is the MD5 of the bytes;
``read-back``: the object was read again and its CRC64NVME compared; ``local``: the files never left the disk.
A publication names the weakest that any of its objects needed.
"""


class ManifestError(ValueError):
    """A manifest that is damaged, contradicts itself, or comes from a newer version."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Something that xarray can open: a zarr store or a netCDF file."""

    path: str
    """Relative to the publication; empty if the publication itself is the store."""
    format: DatasetFormat
    group: str = ""
    """The group within the store that holds the variables; empty for its root."""


class FileRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file of a publication."""

    path: str
    """Relative to the publication's prefix, with slashes."""
    size: int
    """In bytes."""
    crc64nvme: str
    """Checksum over the whole object, base64 of eight big-endian bytes, as S3 writes it."""
    etag: str
    """As the store returned it, quotes included; empty where it has none, or one that a copy would not have."""
    content_type: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a publication in byte order of their paths, and their totals."""

    version: int = VERSION
    execution: str
    attempt: int
    created_at: datetime
    verified: Verification
    files: int
    bytes: int
    datasets: tuple[Dataset, ...] = ()
    rows: tuple[FileRow, ...] = ()

    @classmethod
    def of(
        cls,
        rows: Iterable[FileRow],
        *,
        execution: str,
        attempt: int,
        created_at: datetime,
        verified: Verification,
        datasets: tuple[Dataset, ...],
    ) -> "Manifest":
        """Put `rows` in order and count them."""
        ordered = tuple(sorted(rows, key=lambda row: row.path.encode()))
        return cls(
            execution=execution,
            attempt=attempt,
            created_at=created_at,
            verified=verified,
            files=len(ordered),
            bytes=sum(row.size for row in ordered),
            datasets=datasets,
            rows=ordered,
        )


def encode_manifest(manifest: Manifest) -> bytes:
    """Serialise as gzipped JSON, the same bytes for the same manifest."""
    return gzip.compress(msgspec.json.encode(manifest), compresslevel=6, mtime=0)


_GZIP = b"\x1f\x8b"
"""What gzipped data begin with (RFC 1952 §2.3.1)."""

_decoder = msgspec.json.Decoder(Manifest)


class _Version(msgspec.Struct):
    version: int


def decode_manifest(data: bytes) -> Manifest:
    """Parse and check a manifest, gzipped or as plain JSON.

    Raises
    ------
    ManifestError
        If it is not JSON of this shape, has another version, totals that its rows do not add up to,
        a path twice or out of order, a path that leaves the publication, or more than 1,000,000 rows.
    """
    try:
        text = gzip.decompress(data) if data.startswith(_GZIP) else data
        version = msgspec.json.decode(text, type=_Version).version
        if version != VERSION:
            raise ManifestError(f"the manifest has version {version}; this wildcast reads {VERSION}: upgrade it")
        manifest = _decoder.decode(text)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError) as error:
        raise ManifestError(f"the manifest is damaged: {error}") from error
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    rows = manifest.rows
    if len(rows) > MAX_FILES:
        raise ManifestError(f"the manifest has {len(rows)} files, more than {MAX_FILES}")
    if manifest.files != len(rows) or manifest.bytes != sum(row.size for row in rows):
        raise ManifestError("the manifest's totals are not those of its rows")
    paths = [row.path for row in rows]
    try:
        check_keys(paths)
    except InvalidPathError as error:
        raise ManifestError(f"the manifest names a path outside its publication: {error}") from error
    # Characters have the same order as their bytes in UTF-8.
    for previous, row in zip(["", *paths], rows, strict=False):
        if row.path <= previous or row.size < 0:
            raise ManifestError(f"the manifest's row of {row.path!r} is out of order, doubled, or of negative size")
