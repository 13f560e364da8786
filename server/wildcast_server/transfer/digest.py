"""Checksums without a transfer: of files on disk, and of objects read back."""

from collections.abc import Sequence

from wildcast_server.http.media_types import content_type
from wildcast_server.store.base import ByteRange, ObjectStore
from wildcast_server.transfer.budget import Budget, Cost
from wildcast_server.transfer.checksums import Crc64Nvme
from wildcast_server.transfer.files import LocalFile, StoredFile
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE, MIB
from wildcast_server.transfer.pool import for_each
from wildcast_server.transfer.reading import open_unchanged

_DISK_READERS = 4
_DISK_PIECE = MIB
_DISK_COST = Cost(1, _DISK_PIECE)


def digest_files(files: Sequence[LocalFile]) -> list[StoredFile]:
    """Read every file once and return its checksum; holds at most 4 MiB.

    Raises
    ------
    FileChangedError
        If one was written since it was scanned.
    UnpublishableFileError
        If one cannot be read.
    """
    budget = Budget(_DISK_READERS, _DISK_READERS * _DISK_PIECE)
    return for_each(_digest, files, budget, cost=lambda _file: _DISK_COST)


def _digest(file: LocalFile) -> StoredFile:
    crc = Crc64Nvme()
    with open_unchanged(file) as opened:
        if not file.size:
            opened.read()
        for piece in opened.pieces(_DISK_PIECE):
            crc.update(piece)
    return StoredFile(
        path=file.path,
        key="",
        size=file.size,
        crc64nvme=crc.base64(),
        etag=None,
        expected_etag=None,
        is_multipart=False,
        content_type=content_type(file.path),
    )


def read_back(store: ObjectStore, key: str, size: int) -> str:
    """Read an object of `size` bytes, 8 MiB at a time, and return its CRC64NVME in base64.

    Raises
    ------
    StoreError
        If it cannot be read, or is shorter than a part of it that was asked for.
    """
    crc = Crc64Nvme()
    for start in range(0, size, DEFAULT_PART_SIZE):
        crc.update(store.get(key, ByteRange(start, min(start + DEFAULT_PART_SIZE, size))))
    if not size:
        crc.update(store.get(key))
    return crc.base64()
