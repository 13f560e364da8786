"""Reading the files of one publication, with its manifest as the truth about which there are."""

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from wildcast._errors import (
    DamagedManifestError,
    LostObjectError,
    MissingFileError,
    RangeNotSatisfiableError,
    TransferBrokenError,
    shown,
)
from wildcast._listing import Entry, Listing
from wildcast._ranges import ByteRange
from wildcast._receive import PartialFile, receive_range, receive_whole
from wildcast._sources import UrlSource
from wildcast._transport import Receive, T, Transport
from wildcast.contract.manifest import ManifestError, decode_manifest
from wildcast.contract.naming import MANIFEST_PATH, RESERVED


class PublicationReader:
    """Reads files below one signed prefix.

    Parameters
    ----------
    source
        Where the URL comes from.
    transport
        What makes the requests.
    files
        The files and their sizes in bytes, if they are known already.
    """

    def __init__(self, source: UrlSource, transport: Transport, files: Mapping[str, int] | None = None) -> None:
        self._source, self._transport = source, transport
        self._listing = None if files is None else Listing(files)
        self._has_none = False
        self._unchecked: dict[str, int] = {}
        self.witness: str | None = None
        """A file that was read: by it a publication without a manifest is known again."""
        self._witnessed = float("-inf")
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    @property
    def known(self) -> Listing | None:
        """The listing, if it has been needed before."""
        return self._listing

    async def read(self, key: str, wanted: ByteRange | None = None) -> bytes:
        """Return a file, or a part of it.

        Raises
        ------
        MissingFileError
            If the file was never part of the publication.
        LostObjectError
            If it is part of it, and the store lacks it.
        ReadError
            For anything else.
        """
        size = self._expected_size(key)
        if wanted is not None:
            return await self._read_range(key, wanted, size)
        body = await self._request(key, lambda response: receive_whole(response, key, size))
        if size is None:
            self._check_unchecked(key, len(body))
        return body

    async def _read_range(self, key: str, wanted: ByteRange, size: int | None) -> bytes:
        if size is not None and not wanted.satisfiable(size):
            raise RangeNotSatisfiableError(f"The range asked for is not satisfiable: {shown(key)} has {size} bytes.")
        try:
            return await self._request(
                key,
                lambda response: receive_range(response, key, wanted, size),
                headers=lambda: {"Range": wanted.header},
            )
        except RangeNotSatisfiableError:
            if size is None:
                raise
            raise TransferBrokenError(f"{shown(key)} is shorter in the store than the manifest says.") from None

    async def download(self, key: str, target: Path, on_bytes: Callable[[int, int | None], None] | None = None) -> None:
        """Write a file to `target`, whose directory exists; it appears there whole or not at all."""
        with PartialFile(target, key, self._expected_size(key), on_bytes) as partial:
            await self._request(key, partial.receive, headers=lambda: partial.headers)

    async def entry(self, key: str) -> Entry:
        """Return what is at `key`, a file or a directory.

        Raises
        ------
        MissingFileError
            If nothing is there.
        """
        listing = await self.listing()
        if listing is None or _is_reserved(key):
            return await self._head(key)
        entry = listing.entry(key)
        if entry is None:
            raise _missing(key)
        return entry

    async def _head(self, key: str) -> Entry:
        if not key:
            return Entry("", None)
        return await self._request(key, lambda response: _length(response, key), method="HEAD")

    async def listing(self) -> Listing | None:
        """Return the files; None where nothing says which there are. Asked for once, then kept.

        Raises
        ------
        DamagedManifestError
            If there is a manifest that cannot be understood.
        LostObjectError
            If the API has published this, and neither manifest nor API know its files any more.
        TransferBrokenError
            If a file was read before that does not have the size that the manifest says.
        ReadError
            If the manifest cannot be read now.
        """
        async with self._lock():
            if self._listing is None and not self._has_none:
                listing = await self._load()
                if listing is not None:
                    # Not kept if this raises: whoever asks again is told again.
                    _check_sizes(listing, dict(self._unchecked))
                self._listing, self._has_none = listing, listing is None
                self._unchecked.clear()
            return self._listing

    def _lock(self) -> asyncio.Lock:
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _load(self) -> Listing | None:
        try:
            data = await self._transport.request(
                MANIFEST_PATH, lambda response: receive_whole(response, MANIFEST_PATH, None)
            )
        except MissingFileError:
            return await self._ask_api()
        try:
            return await asyncio.to_thread(_decode, data)
        except ManifestError as error:
            raise DamagedManifestError(f"{self._source.base} has a manifest that cannot be used: {error}.") from error

    async def _ask_api(self) -> Listing | None:
        if not self._source.expects_listing:
            return None
        files = await asyncio.to_thread(self._source.files)
        if files is None:
            raise LostObjectError(f"The publication at {self._source.base} is gone: its manifest is missing.")
        return Listing(files)

    def _expected_size(self, key: str) -> int | None:
        if self._listing is None or _is_reserved(key):
            return None
        size = self._listing.size(key)
        if size is None:
            raise _missing(key)
        return size

    def _check_unchecked(self, key: str, length: int) -> None:
        """Hold what was read without knowing its size to the manifest: now, or once that is known."""
        if self._listing is not None:
            _check_sizes(self._listing, {key: length})
        elif not self._has_none:
            self._unchecked[key] = length

    async def _request(
        self,
        key: str,
        receive: Receive[T],
        *,
        method: str = "GET",
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> T:
        try:
            body = await self._transport.request(key, receive, method=method, headers=headers)
        except MissingFileError:
            await self._check_never_written(key)
            raise
        if self.witness is None and not _is_reserved(key):
            self.witness = key
        return body

    async def _check_never_written(self, key: str) -> None:
        missed = time.monotonic()
        listing = await self.listing()
        if listing is None:
            await self._check_still_there(missed)
        elif listing.size(key) is not None:
            raise LostObjectError(
                f"{shown(key)} is part of this publication, but the store does not have it any more; "
                "this is a defect, not a gap in the data. Ask the operators of the service."
            )

    async def _check_still_there(self, missed: float) -> None:
        """Hold that not everything is gone, manifest and all: a deleted publication is no store full of gaps."""
        if self.witness is None:
            return
        async with self._lock():
            if self._witnessed > missed:
                return  # Found by a request that began after this file was missed.
            began = time.monotonic()
            try:
                await self._transport.request(self.witness, _nothing, headers=lambda: {"Range": "bytes=0-0"})
            except RangeNotSatisfiableError:
                pass  # It is empty, and there.
            except MissingFileError:
                self._has_none = False
                raise LostObjectError(
                    f"{self._source.base} had files and has none now: it was removed, or something else answers "
                    "in its place. Open the result again."
                ) from None
            self._witnessed = began


def _decode(data: bytes) -> Listing:
    return Listing({row.path: row.size for row in decode_manifest(data).rows})


def _check_sizes(listing: Listing, lengths: Mapping[str, int]) -> None:
    for key, length in lengths.items():
        if listing.size(key) not in (None, length):
            raise TransferBrokenError(f"{shown(key)} was read with {length} bytes, and the manifest says otherwise.")


async def _nothing(_response: aiohttp.ClientResponse) -> None:
    """Leave the body: that there is one says enough."""


def _missing(key: str) -> MissingFileError:
    return MissingFileError(f"There is no {shown(key)} in this result.")


def _is_reserved(key: str) -> bool:
    return key == RESERVED or key.startswith(f"{RESERVED}/")


async def _length(response: aiohttp.ClientResponse, key: str) -> Entry:
    # Not `content_length`: aiohttp reads that of an answer without a body as zero.
    text = response.headers.get("Content-Length", "")
    if not text.isdecimal():
        raise TransferBrokenError(f"Nothing says how long {shown(key)} is.")
    return Entry(key, int(text))
