"""Reading an answer's body, and making sure that it is what was asked for."""

import aiohttp

from wildcast._checksum import crc64nvme
from wildcast._disk import Writer
from wildcast._errors import RangeNotSatisfiableError, StaleObjectError, TransferBrokenError, shown
from wildcast._listing import Entry, Expected, version_of
from wildcast._ranges import ByteRange, ContentRange, parse_content_range
from wildcast._transport import OK, PARTIAL

CHUNK = 256 * 1024
"""Bytes of a body that are taken from the network at once, at most."""

BLOCK = 1 << 19
"""Bytes of a download that are written at once, at most; as many may arrive meanwhile."""


class Answer:
    """The body of an answer, with what its head says about the whole file.

    Parameters
    ----------
    path
        The file's path in the publication.
    body
        The bytes that were asked for.
    size
        The whole file's size in bytes, as the server has it.
    etag
        The file's ETag, as the server has it.
    is_whole
        Whether `body` is the whole file.
    """

    def __init__(self, path: str, body: bytes, size: int, etag: str | None, *, is_whole: bool) -> None:
        self._path, self._size, self._etag, self._is_whole = path, size, etag, is_whole
        self.body = body

    @property
    def part_version(self) -> int:
        """`version_of` the ETag of a part; 0 for a whole file, which its checksum tells."""
        return 0 if self._is_whole else version_of(self._etag)

    def check(self, expected: Expected) -> None:
        """Hold it to what the manifest says.

        Raises
        ------
        StaleObjectError
            If it is of another version. A whole file is known by its checksum, a part by size and ETag.
        """
        check_size(self._path, self._size, expected)
        if self._is_whole and expected.crc is not None:
            if crc64nvme(self.body) != expected.crc:
                raise StaleObjectError(f"{shown(self._path)} does not have the manifest's checksum; {_CAUSE}")
        else:
            check_etag(self._path, self._etag, expected)


_CAUSE = "the CDN or the store has another version of it. Try again later, or tell the operators of the service."


def check_size(path: str, size: int, expected: Expected) -> None:
    """Hold a size in bytes to the manifest's."""
    if size != expected.size:
        raise StaleObjectError(
            f"{shown(path)} has {size} bytes in the store and {expected.size} in the manifest; {_CAUSE}"
        )


def check_etag(path: str, etag: str | None, expected: Expected) -> None:
    """Hold an ETag to the manifest's, as far as both are known."""
    found = version_of(etag)
    if found and expected.version and found != expected.version:
        raise StaleObjectError(f"{shown(path)} does not have the manifest's ETag; {_CAUSE}")


async def receive_whole(response: aiohttp.ClientResponse, path: str, expected: Expected | None) -> Answer:
    """Return a whole file; `expected` is the manifest's, where it is known."""
    check_whole(response, path, expected)
    size = _size_of(response, expected)
    body = await _body(response, path, size)
    check_length(path, len(body), size)
    return Answer(path, body, len(body), response.headers.get("ETag"), is_whole=True)


async def receive_range(
    response: aiohttp.ClientResponse, path: str, wanted: ByteRange, expected: Expected | None
) -> Answer:
    """Return a part of a file; where the server sent all of it, the part is cut out here."""
    if response.status == OK:
        return await _cut(response, path, wanted, expected)
    got = range_of(response, path, expected)
    if (got.start, got.end) != wanted.within(got.size):
        raise TransferBrokenError(
            f"Bytes {got.start} to {got.end} of {shown(path)} arrived, which are not those asked for."
        )
    body = await _body(response, path, got.end - got.start)
    check_length(path, len(body), got.end - got.start)
    return Answer(path, body, got.size, response.headers.get("ETag"), is_whole=len(body) == got.size)


async def _body(response: aiohttp.ClientResponse, path: str, most: int | None) -> bytes:
    pieces, arrived = [], 0
    async for piece in response.content.iter_any():
        arrived += len(piece)
        _check_not_longer(path, arrived, most)
        pieces.append(piece)
    return b"".join(pieces)


async def pour(response: aiohttp.ClientResponse, path: str, most: int | None, writer: Writer) -> None:
    """Write a body, in blocks of `BLOCK` bytes at most; where it breaks off, what had arrived as well.

    Raises
    ------
    TransferBrokenError
        As soon as there is more of it than `most` bytes, where that is known.
    """
    block: list[bytes] = []
    size = arrived = 0
    try:
        async for piece in response.content.iter_chunked(CHUNK):
            arrived += len(piece)
            _check_not_longer(path, arrived, most)
            block.append(piece)
            size += len(piece)
            if size > BLOCK - CHUNK:
                full, block, size = block, [], 0
                await writer.write(full)
    finally:
        if block:
            await writer.write(block)
        await writer.settle()


async def _cut(response: aiohttp.ClientResponse, path: str, wanted: ByteRange, expected: Expected | None) -> Answer:
    check_whole(response, path, expected)
    total, etag = _size_of(response, expected), response.headers.get("ETag")
    if total is None:
        whole = await response.read()
        start, end = _part(path, wanted, len(whole))
        return Answer(path, whole[start:end], len(whole), etag, is_whole=(start, end) == (0, len(whole)))
    start, end = _part(path, wanted, total)
    kept, position = bytearray(), 0
    # Only the part is kept: the whole may be far larger than memory.
    async for piece in response.content.iter_chunked(CHUNK):
        kept += piece[max(start - position, 0) : max(end - position, 0)]
        position += len(piece)
        if position >= end:
            break
    check_length(path, len(kept), end - start)
    return Answer(path, bytes(kept), total, etag, is_whole=(start, end) == (0, total))


async def receive_head(response: aiohttp.ClientResponse, path: str) -> Entry:
    """Return what the answer to a HEAD tells about a file."""
    # Not `content_length`: aiohttp reads that of an answer without a body as zero.
    text = response.headers.get("Content-Length", "")
    if not text.isdecimal():
        raise TransferBrokenError(f"Nothing says how long {shown(path)} is.")
    return Entry(path, int(text), response.headers.get("ETag"))


def _part(path: str, wanted: ByteRange, size: int) -> tuple[int, int]:
    if not wanted.satisfiable(size):
        # As after a 416: nothing says how long the file should be, so this may be a page in its place.
        raise RangeNotSatisfiableError(
            f"{shown(path)} arrived whole, and ends before the part that was asked for; open it again."
        )
    return wanted.within(size)


def range_of(response: aiohttp.ClientResponse, path: str, expected: Expected | None) -> ContentRange:
    """Return which part an answer says that it is."""
    got = parse_content_range(response.headers.get("Content-Range"))
    if got is None:
        raise TransferBrokenError(f"A part of {shown(path)} arrived without saying which.")
    if expected is not None:
        check_size(path, got.size, expected)
    return got


def check_whole(response: aiohttp.ClientResponse, path: str, expected: Expected | None) -> None:
    """Hold that an answer is a whole file, and of the expected length as far as it says so."""
    if response.status == PARTIAL:
        raise TransferBrokenError(f"Only a part of {shown(path)} arrived, although all of it was asked for.")
    length = response.content_length
    if expected is not None and length is not None:
        check_size(path, length, expected)
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if expected is None and length is None and not chunked:
        raise TransferBrokenError(f"Nothing says how long {shown(path)} is, so it might arrive cut short unnoticed.")


def _check_not_longer(path: str, arrived: int, most: int | None) -> None:
    """Hold that no more bytes arrive than there are: a body in chunks may have any length."""
    if most is not None and arrived > most:
        raise TransferBrokenError(f"More than the {most} bytes of {shown(path)} arrived that there are; {_CAUSE}")


def check_length(path: str, length: int, expected: int | None) -> None:
    """Hold that as many bytes arrived as were to come."""
    if expected is not None and length != expected:
        raise TransferBrokenError(f"{length} of {expected} bytes of {shown(path)} arrived; try again.")


def _size_of(response: aiohttp.ClientResponse, expected: Expected | None) -> int | None:
    return response.content_length if expected is None else expected.size
