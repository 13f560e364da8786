"""CRC64NVME, S3's checksum of whole objects, in the form in which S3 writes it."""

import base64


def in_base64(value: int) -> str:
    """Return a CRC64NVME in base64 of its eight bytes, the highest first."""
    return base64.b64encode(value.to_bytes(8, "big")).decode()


def crc64nvme_of(data: bytes) -> str:
    """Return the CRC64NVME of a body in base64."""
    from awscrt.checksums import crc64nvme

    return in_base64(crc64nvme(data))
