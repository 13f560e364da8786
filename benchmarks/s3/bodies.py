"""What becomes of a request's body: thrown away, or kept and held against every checksum that came with it."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from awscrt import checksums

from .contents import Contents, Stored
from .messages import Head, RefusedError, Request

PROBE = 4 << 10
"""Bodies up to this many bytes are checked even where bodies are thrown away: a client may try what happens."""
TAIL = 512
"""Bytes in which a body's trailers are."""
_CRC64 = b"x-amz-checksum-crc64nvme"
_KEPT_HEADERS = (b"content-type", b"cache-control", b"content-encoding", b"content-disposition")


@dataclass(frozen=True)
class Keeping:
    """How much of a body is to be collected."""

    all: bool
    tail: bool = False


class Bodies(Protocol):
    """Says what is kept of bodies, and makes of a body what is stored."""

    def keeping(self, head: Head, length: int) -> Keeping:
        """Say how much of a body of `length` bytes is to be collected."""

    def receive(self, request: Request) -> Stored:
        """Return what is kept of an object or part; `RefusedError` if it is not what was announced."""

    def join(self, parts: list[Stored], headers: tuple[str, ...]) -> Stored:
        """Make an object of its parts."""


class ThrownAway:
    """Keeps sizes and checksums, and the bodies below ``.wildcast/``, which a publisher reads back.

    Parameters
    ----------
    contents
        Hands out ETags.
    """

    _whole, _tail, _nothing = Keeping(all=True), Keeping(all=False, tail=True), Keeping(all=False)

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def keeping(self, head: Head, length: int) -> Keeping:
        """Collect what is small or will be read."""
        if length <= PROBE or head.method == b"POST" or b"/.wildcast/" in head.target:
            return self._whole
        return self._tail if head.get(b"x-amz-trailer") else self._nothing

    def receive(self, request: Request) -> Stored:
        """Keep the checksum that was sent; check it if the body is small."""
        sent = request.head.get(_CRC64)
        if request.body is None:
            sent = sent or _trailers(request.tail).get(_CRC64.decode())
            return Stored(request.size, self._contents.etag(), _number(sent))
        body, trailers = decode(request)
        sent = sent or trailers.get(_CRC64.decode())
        if len(body) <= PROBE:
            _check_md5(request.head.get(b"content-md5"), body)
            if sent and sent != _base64(checksums.crc64nvme(body), 8):
                raise _mismatch("crc64nvme")
        kept = body if b"/.wildcast/" in request.head.target else None
        return Stored(len(body), self._contents.etag(), _number(sent), kept)

    def join(self, parts: list[Stored], headers: tuple[str, ...]) -> Stored:
        """Add sizes up, and combine checksums where each part has one."""
        etag = f'{self._contents.etag()[:-1]}-{len(parts)}"'
        return Stored(sum(part.size for part in parts), etag, _combined(parts), None, headers)


class Checked:
    """Keeps everything, with the ETags that S3 makes, and refuses whatever differs from what was announced."""

    _whole = Keeping(all=True)

    def keeping(self, head: Head, length: int) -> Keeping:  # noqa: ARG002 - the protocol's signature
        """Collect all."""
        return self._whole

    def receive(self, request: Request) -> Stored:
        """Hold a body against every checksum that came with it."""
        body, trailers = decode(request)
        sent = {**request.head.all(), **trailers}
        _check_sha256(sent.get("x-amz-content-sha256", ""), request.body or b"")
        md5 = _check_md5(sent.get("content-md5"), body)
        for name, compute in _CHECKSUMS.items():
            value = sent.get(f"x-amz-checksum-{name}")
            if value is not None and value != compute(body):
                raise _mismatch(name)
        return Stored(len(body), f'"{md5.hex()}"', checksums.crc64nvme(body), body, kept_headers(request.head))

    def join(self, parts: list[Stored], headers: tuple[str, ...]) -> Stored:
        """Join the parts, with the ETag that S3 gives to a multipart object."""
        digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
        etag = f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'
        body = b"".join(part.body or b"" for part in parts)
        return Stored(len(body), etag, _combined(parts), body, headers)


def kept_headers(head: Head) -> tuple[str, ...]:
    """Return the lines that are given back with the object."""
    found = ((name.decode(), head.get(name)) for name in _KEPT_HEADERS)
    lines = [f"{name}: {_without_chunking(value)}" for name, value in found if value and _without_chunking(value)]
    meta = [f"{name}: {value}" for name, value in head.all().items() if name.startswith("x-amz-meta-")]
    return (*lines, *meta)


def _without_chunking(value: str) -> str:
    return ",".join(part for part in value.split(",") if part.strip() != "aws-chunked")


def encoded(crc: int) -> str:
    """Return a CRC64NVME as S3 writes it."""
    return _base64(crc, 8)


def decode(request: Request) -> tuple[bytes, dict[str, str]]:
    """Return a body without its aws-chunked framing, and its trailers (Amazon S3 API Reference, "Signature V4 chunks").

    Raises
    ------
    RefusedError
        If the framing is broken, or the body is not as long as was announced.
    """
    body = bytes(request.body or b"")
    if "aws-chunked" not in (request.head.get(b"content-encoding") or ""):
        return body, {}
    try:
        decoded, trailers = _unchunk(body)
    except ValueError:
        raise RefusedError(400, "InvalidRequest", "The aws-chunked body is broken.") from None
    announced = request.head.get(b"x-amz-decoded-content-length")
    if announced is not None and int(announced) != len(decoded):
        raise RefusedError(400, "IncompleteBody")
    return decoded, trailers


def _unchunk(body: bytes) -> tuple[bytes, dict[str, str]]:
    chunks, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].partition(b";")[0], 16)
        if size == 0:
            return b"".join(chunks), _lines(body[end + 2 :])
        chunks.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _trailers(tail: bytes) -> dict[str, str]:
    """Return the trailers at the end of an aws-chunked body."""
    _, found, lines = tail.rpartition(b"\r\n0\r\n")
    return _lines(lines) if found else {}


def _lines(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines.decode("latin-1").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name}


def _check_sha256(announced: str, body: bytes | bytearray) -> None:
    if len(announced) == hashlib.sha256().digest_size * 2 and announced != hashlib.sha256(body).hexdigest():
        raise RefusedError(400, "XAmzContentSHA256Mismatch")


def _check_md5(announced: str | None, body: bytes) -> bytes:
    """Return the MD5 of a body."""
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    if announced is not None and announced != base64.b64encode(md5).decode():
        raise RefusedError(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    return md5


def _mismatch(name: str) -> RefusedError:
    message = f"The {name.upper()} you specified did not match the calculated checksum."
    return RefusedError(400, "BadDigest", message)


def _base64(number: int, size: int) -> str:
    return base64.b64encode(number.to_bytes(size, "big")).decode()


def _number(sent: str | None) -> int | None:
    return None if sent is None else int.from_bytes(base64.b64decode(sent), "big")


def _combined(parts: list[Stored]) -> int | None:
    crc = 0
    for part in parts:
        if part.crc is None:
            return None
        crc = checksums.combine_crc64nvme(crc, part.crc, part.size)
    return crc


_CHECKSUMS: dict[str, Callable[[bytes], str]] = {
    "crc64nvme": lambda body: _base64(checksums.crc64nvme(body), 8),
    "crc32": lambda body: _base64(crc32(body), 4),
    "crc32c": lambda body: _base64(checksums.crc32c(body), 4),
    "sha1": lambda body: base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode(),
    "sha256": lambda body: base64.b64encode(hashlib.sha256(body).digest()).decode(),
}
