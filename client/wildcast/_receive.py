"""Reading an answer's body, and making sure that it is what was asked for."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

import aiohttp

from wildcast._errors import TransferBrokenError, shown
from wildcast._ranges import ByteRange, ContentRange, parse_content_range
from wildcast._transport import OK, PARTIAL

CHUNK = 256 * 1024
"""Bytes of a download that are in memory at a time."""


async def receive_whole(response: aiohttp.ClientResponse, path: str, size: int | None) -> bytes:
    """Return a whole file; `size` is the manifest's, where it is known."""
    _check_whole(response, path, size)
    body = await response.read()
    _check_length(path, len(body), _first_known(size, response.content_length))
    return body


async def receive_range(response: aiohttp.ClientResponse, path: str, wanted: ByteRange, size: int | None) -> bytes:
    """Return a part of a file; where the server sent all of it, the part is cut out here."""
    if response.status == OK:
        return await _cut(response, path, wanted, size)
    got = _range_of(response, path, size)
    if (got.start, got.end) != wanted.within(got.size):
        raise TransferBrokenError(
            f"Bytes {got.start} to {got.end} of {shown(path)} arrived, which are not those asked for."
        )
    body = await response.read()
    _check_length(path, len(body), got.end - got.start)
    return body


async def _cut(response: aiohttp.ClientResponse, path: str, wanted: ByteRange, size: int | None) -> bytes:
    _check_whole(response, path, size)
    total = _first_known(size, response.content_length)
    if total is None:
        body = await response.read()
        start, end = wanted.within(len(body))
        return body[start:end]
    start, end = wanted.within(total)
    kept, position = bytearray(), 0
    # Only the part is kept: the whole may be far larger than memory.
    async for piece in response.content.iter_chunked(CHUNK):
        kept += piece[max(start - position, 0) : max(end - position, 0)]
        position += len(piece)
        if position >= end:
            break
    _check_length(path, len(kept), max(end - start, 0))
    return bytes(kept)


def _range_of(response: aiohttp.ClientResponse, path: str, size: int | None) -> ContentRange:
    got = parse_content_range(response.headers.get("Content-Range"))
    if got is None:
        raise TransferBrokenError(f"A part of {shown(path)} arrived without saying which.")
    if size is not None and got.size != size:
        raise TransferBrokenError(f"{shown(path)} has {got.size} bytes in the store and {size} in the manifest.")
    return got


def _check_whole(response: aiohttp.ClientResponse, path: str, size: int | None) -> None:
    if response.status == PARTIAL:
        raise TransferBrokenError(f"Only a part of {shown(path)} arrived, although all of it was asked for.")
    length = response.content_length
    if size is not None and length is not None and length != size:
        raise TransferBrokenError(f"{shown(path)} has {length} bytes in the store and {size} in the manifest.")
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if size is None and length is None and not chunked:
        raise TransferBrokenError(f"Nothing says how long {shown(path)} is, so it might arrive cut short unnoticed.")


def _check_length(path: str, length: int, expected: int | None) -> None:
    if expected is not None and length != expected:
        raise TransferBrokenError(f"{length} of {expected} bytes of {shown(path)} arrived; try again.")


def _first_known(*sizes: int | None) -> int | None:
    return next((size for size in sizes if size is not None), None)


class PartialFile:
    """A download that is written beside its target and takes its name once it is whole.

    It holds at most `CHUNK` bytes in memory, and goes on where it was broken off if the file is still the same.

    Parameters
    ----------
    target
        Where the file is to be; its directory exists.
    path
        The file's path in the publication.
    size
        The manifest's size in bytes, where it is known.
    on_bytes
        Called with the number of bytes that are done, and that there are.
    """

    def __init__(
        self, target: Path, path: str, size: int | None, on_bytes: Callable[[int, int | None], None] | None = None
    ) -> None:
        self._target, self._path, self._size = target, path, size
        self._on_bytes = on_bytes or (lambda _done, _total: None)
        # Cut, because with its ending a name may be longer than the 255 bytes that a file system takes.
        self._partial = target.with_name(f"{target.name[:50]}.{secrets.token_hex(4)}.partial")
        self._etag = ""
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self._file = self._partial.open("xb")
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self._target)
        else:
            self._partial.unlink(missing_ok=True)

    @property
    def headers(self) -> dict[str, str]:
        """What to ask for: the rest, if there is a beginning that is known to belong to the same file."""
        done = self._file.tell()
        return {"Range": f"bytes={done}-", "If-Range": self._etag} if done and self._etag else {}

    async def receive(self, response: aiohttp.ClientResponse) -> None:
        """Write an answer's body, behind what is there or, if the server sends everything, from the beginning."""
        total = self._resume(response) if response.status == PARTIAL else self._restart(response)
        async for piece in response.content.iter_chunked(CHUNK):
            self._file.write(piece)
            self._on_bytes(self._file.tell(), total)
        _check_length(self._path, self._file.tell(), total)

    def _restart(self, response: aiohttp.ClientResponse) -> int | None:
        _check_whole(response, self._path, self._size)
        self._file.seek(0)
        self._file.truncate()
        etag = response.headers.get("ETag", "")
        # A weak one does not promise the same bytes (RFC 9110 §13.1.5).
        self._etag = "" if etag.startswith("W/") else etag
        return _first_known(self._size, response.content_length)

    def _resume(self, response: aiohttp.ClientResponse) -> int:
        got = _range_of(response, self._path, self._size)
        if (got.start, got.end) != (self._file.tell(), got.size):
            self._etag = ""
            raise TransferBrokenError(f"The rest of {shown(self._path)} was asked for, and something else arrived.")
        return got.size
