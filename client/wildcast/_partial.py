"""A download in one stream, which takes its name once it is whole."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

import aiohttp

from wildcast._checksum import crc64nvme
from wildcast._errors import StaleObjectError, TransferBrokenError, shown
from wildcast._listing import Expected
from wildcast._receive import check_etag, check_length, check_whole, pour, range_of
from wildcast._transport import PARTIAL

OnBytes = Callable[[int, int | None], None]
"""Called with the number of bytes that are done, and that there are."""


class PartialFile:
    """A download that is written beside its target and takes its name once it is whole.

    It holds at most `BLOCK` bytes in memory, and goes on where it was broken off if the file is still the same.

    Parameters
    ----------
    target
        Where the file is to be; its directory exists.
    path
        The file's path in the publication.
    expected
        What the manifest says about it, where it is known.
    on_bytes
        Called with the number of bytes that are done, and that there are.
    """

    def __init__(self, target: Path, path: str, expected: Expected | None, on_bytes: OnBytes | None = None) -> None:
        self._target, self._path, self._expected = target, path, expected
        self._on_bytes = on_bytes or (lambda _done, _total: None)
        # Cut, because with its ending a name may be longer than the 255 bytes that a file system takes.
        self._partial = target.with_name(f"{target.name[:50]}.{secrets.token_hex(4)}.partial")
        self._etag, self._crc = "", 0
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
        if not done or not self._etag or (self._expected is not None and done >= self._expected.size):
            return {}
        return {"Range": f"bytes={done}-", "If-Range": self._etag}

    async def receive(self, response: aiohttp.ClientResponse) -> None:
        """Write an answer's body, behind what is there or, if the server sends everything, from the beginning."""
        total = self._resume(response) if response.status == PARTIAL else self._restart(response)

        async def write(block: bytes) -> None:
            self._file.write(block)
            self._crc = crc64nvme(block, self._crc)
            self._on_bytes(self._file.tell(), total)

        most = None if total is None else total - self._file.tell()
        try:
            await pour(response, self._path, most, write)
        except TransferBrokenError:
            # What is there is no beginning of this file.
            self._etag = ""
            raise
        check_length(self._path, self._file.tell(), total)
        self._check_content(response)

    def _check_content(self, response: aiohttp.ClientResponse) -> None:
        if self._expected is None:
            return
        if self._expected.crc is None:
            check_etag(self._path, response.headers.get("ETag"), self._expected)
        elif self._crc != self._expected.crc:
            self._etag = ""
            raise StaleObjectError(f"{shown(self._path)} arrived without the manifest's checksum; try again later.")

    def _restart(self, response: aiohttp.ClientResponse) -> int | None:
        check_whole(response, self._path, self._expected)
        self._file.seek(0)
        self._file.truncate()
        self._crc = 0
        etag = response.headers.get("ETag", "")
        # A weak one does not promise the same bytes (RFC 9110 §13.1.5).
        self._etag = "" if etag.startswith("W/") else etag
        return response.content_length if self._expected is None else self._expected.size

    def _resume(self, response: aiohttp.ClientResponse) -> int:
        got = range_of(response, self._path, self._expected)
        if (got.start, got.end) != (self._file.tell(), got.size):
            self._etag = ""
            raise TransferBrokenError(f"The rest of {shown(self._path)} was asked for, and something else arrived.")
        return got.size
