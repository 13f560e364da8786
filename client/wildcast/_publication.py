"""Reading the files of one publication, with its manifest as the truth about which there are."""

import asyncio
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
        self._loading: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

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
        if wanted is None:
            return await self._request(key, lambda response: receive_whole(response, key, size))
        return await self._read_range(key, wanted, size)

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
        ReadError
            If the manifest cannot be read now.
        """
        async with self._loading.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._listing is None and not self._has_none:
                self._listing = await self._load()
                self._has_none = self._listing is None
            return self._listing

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

    async def _request(
        self,
        key: str,
        receive: Receive[T],
        *,
        method: str = "GET",
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> T:
        try:
            return await self._transport.request(key, receive, method=method, headers=headers)
        except MissingFileError:
            await self._check_never_written(key)
            raise

    async def _check_never_written(self, key: str) -> None:
        listing = await self.listing()
        if listing is not None and listing.size(key) is not None:
            raise LostObjectError(
                f"{shown(key)} is part of this publication, but the store does not have it any more; "
                "this is a defect, not a gap in the data. Ask the operators of the service."
            )


def _decode(data: bytes) -> Listing:
    return Listing({row.path: row.size for row in decode_manifest(data).rows})


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
