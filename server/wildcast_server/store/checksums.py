"""CRC64NVME, S3's checksum of whole objects, in the form in which S3 writes it."""

from binascii import b2a_base64
from collections.abc import Callable
from functools import cache
from typing import cast


def in_base64(value: int) -> str:
    """Return a CRC64NVME in base64 of its eight bytes, the highest first."""
    return b2a_base64(value.to_bytes(8, "big"), newline=False).decode()


def crc64nvme_of(data: bytes) -> str:
    """Return the CRC64NVME of a body in base64."""
    return in_base64(_crc64nvme()(data))


@cache
def _crc64nvme() -> Callable[[bytes], int]:
    from awscrt.checksums import crc64nvme

    return cast("Callable[[bytes], int]", crc64nvme)
