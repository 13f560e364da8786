"""CRC64NVME, the checksum that a manifest has of each file, as S3 computes it."""

from functools import cache
from typing import Any


def crc64nvme(data: Any, before: int = 0) -> int:
    """Return the checksum of `data`; `before` is that of the bytes in front of it."""
    return int(_model().calc(data, before))


def joined(first: int, second: int, length: int) -> int:
    """Return the checksum of two parts one behind the other; `length` is the second's, in bytes."""
    return int(_model().combine(first, second, length))


@cache
def _model() -> Any:
    import anycrc

    return anycrc.Model("CRC64-NVME")
