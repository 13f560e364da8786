"""A download in one stream, which takes its name once it is whole."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

import aiohttp

from wildcast._disk import Writer, in_thread, opened
from wildcast._download import check_no_directory
from wildcast._errors import StaleObjectError, TransferBrokenError, shown
from wildcast._listing import Expected
from wildcast._receive import check_etag, check_length, check_whole, pour, range_of
from wildcast._transport import PARTIAL

OnBytes = Callable[[int, int | None], None]
"""Called with the number of bytes that are done, and that there are."""


class PartialFile:
    """A download that is written beside its target and takes its name once it is whole.

    It holds at most two `BLOCK` in memory, and goes on where it was broken off if the file is still the same.

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
        self._etag = ""
        self._total: int | None = None
        self._writer = Writer(self._open, self._report)

    def _open(self) -> BinaryIO:
        check_no_directory(self._target)
        return opened(self._partial, "xb")

    def _report(self, _more: int) -> None:
        self._on_bytes(self._writer.written, self._total)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_rest: object) -> None:
        await in_thread(self._finish if kind is None else self._discard)

    def _finish(self) -> None:
        try:
            self._writer.open()  # Of an empty file nothing was written.
            self._writer.close()
            self._partial.replace(self._target)
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise

    def _discard(self) -> None:
        try:
            self._writer.close()
        finally:
            self._partial.unlink(missing_ok=True)

    @property
    def headers(self) -> dict[str, str]:
        """What to ask for: the rest, if there is a beginning that is known to belong to the same file."""
        done = self._writer.written
        if not done or not self._etag or (self._expected is not None and done >= self._expected.size):
            return {}
        return {"Range": f"bytes={done}-", "If-Range": self._etag}

    async def receive(self, response: aiohttp.ClientResponse) -> None:
        """Write an answer's body, behind what is there or, if the server sends everything, from the beginning."""
        is_rest = response.status == PARTIAL
        total = self._total = self._resume(response) if is_rest else await self._restart(response)
        try:
            await pour(response, self._path, None if total is None else total - self._writer.written, self._writer)
        except TransferBrokenError:
            # What is there is no beginning of this file.
            self._etag = ""
            raise
        check_length(self._path, self._writer.written, total)
        self._check_content(response)

    def _check_content(self, response: aiohttp.ClientResponse) -> None:
        if self._expected is None:
            return
        if self._expected.crc is None:
            check_etag(self._path, response.headers.get("ETag"), self._expected)
        elif self._writer.crc != self._expected.crc:
            self._etag = ""
            raise StaleObjectError(f"{shown(self._path)} arrived without the manifest's checksum; try again later.")

    async def _restart(self, response: aiohttp.ClientResponse) -> int | None:
        check_whole(response, self._path, self._expected)
        await self._writer.rewind()
        etag = response.headers.get("ETag", "")
        # A weak one does not promise the same bytes (RFC 9110 §13.1.5).
        self._etag = "" if etag.startswith("W/") else etag
        return response.content_length if self._expected is None else self._expected.size

    def _resume(self, response: aiohttp.ClientResponse) -> int:
        got = range_of(response, self._path, self._expected)
        if (got.start, got.end) != (self._writer.written, got.size):
            self._etag = ""
            raise TransferBrokenError(f"The rest of {shown(self._path)} was asked for, and something else arrived.")
        return got.size
