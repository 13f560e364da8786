"""Checksums of bytes that come piece by piece."""

import hashlib

from awscrt.checksums import crc64nvme

from wildcast_server.store.checksums import in_base64


class Crc64Nvme:
    """A running CRC64NVME, the checksum that S3 keeps of whole objects, however many parts they came in."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._value = crc64nvme(data, self._value)

    def base64(self) -> str:
        """Return it as S3 writes it: base64 of eight big-endian bytes."""
        return in_base64(self._value)


class Md5Etag:
    """The ETag that S3 gives to an object that is not encrypted with KMS.

    Of one request it is the MD5 of the bytes; of a multipart upload the MD5 of the parts' MD5s, and their number.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def update(self, part: bytes) -> None:
        """Take in the next part."""
        self._parts.append(hashlib.md5(part, usedforsecurity=False).digest())

    def etag(self, *, multipart: bool) -> str:
        """Return it with its quotes."""
        if not multipart:
            return f'"{self._parts[0].hex()}"'
        whole = hashlib.md5(b"".join(self._parts), usedforsecurity=False)
        return f'"{whole.hexdigest()}-{len(self._parts)}"'
