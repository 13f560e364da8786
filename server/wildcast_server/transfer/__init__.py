"""Moving a set of files between disk and a store: bounded in memory, checksummed on the way."""

from wildcast_server.transfer.digest import digest_files, read_back
from wildcast_server.transfer.engine import Transfer
from wildcast_server.transfer.files import LocalFile, ProgressCallback, StoredFile, TransferProgress
from wildcast_server.transfer.parts import optimal_part_size

__all__ = [
    "LocalFile",
    "ProgressCallback",
    "StoredFile",
    "Transfer",
    "TransferProgress",
    "digest_files",
    "optimal_part_size",
    "read_back",
]
