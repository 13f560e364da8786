"""Which files a publication has: by its manifest, by the list of what is there so far, or by the API."""

import asyncio

from wildcast._errors import (
    DamagedManifestError,
    LostObjectError,
    MissingFileError,
    OriginRefusedError,
    ResultChangedError,
)
from wildcast._listing import Listing
from wildcast._receive import receive_whole
from wildcast._sources import UrlSource
from wildcast._transport import Transport
from wildcast.contract.manifest import ManifestError
from wildcast.contract.naming import MANIFEST_PATH, PARTIAL_PATH


class Manifests:
    """Finds out which files a publication has.

    Parameters
    ----------
    source
        Where the publication is.
    transport
        What makes the requests.
    """

    def __init__(self, source: UrlSource, transport: Transport) -> None:
        self._source, self._transport = source, transport

    async def load(self, known: Listing | None) -> Listing | None:
        """Return the files; None where nothing says which there are.

        Parameters
        ----------
        known
            What the API has listed, if it has been asked before.

        Raises
        ------
        DamagedManifestError
            If there is a manifest that cannot be understood.
        LostObjectError
            If the API has published this, and neither manifest nor API know its files any more.
        ResultChangedError
            If what an execution showed here while it ran is not shown any more.
        OriginRefusedError
            If the store does not say whether there is a manifest.
        ReadError
            If the manifest cannot be read now.
        """
        await self._transport.prepare()
        try:
            data = await self._manifest()
        except (MissingFileError, OriginRefusedError) as absent:
            so_far = await self._so_far()
            if so_far is not None:
                return so_far
            if isinstance(absent, OriginRefusedError) and known is None and not self._source.expects_listing:
                raise
            return await self._of_api(known)
        return await self._understood(data)

    async def _manifest(self) -> bytes:
        told = await asyncio.to_thread(self._source.manifest) if self._source.is_api else None
        return await self._read(MANIFEST_PATH) if told is None else told

    async def _read(self, path: str) -> bytes:
        link = self._source.manifest_link
        answer = await self._transport.request(path, lambda response: receive_whole(response, path, None), link=link)
        return answer.body

    async def _understood(self, data: bytes, *, is_partial: bool = False) -> Listing:
        directory = self._source.directory
        try:
            return await asyncio.to_thread(Listing.of_manifest, data, directory, is_partial=is_partial)
        except ManifestError as error:
            raise DamagedManifestError(f"{self._source.base} has a manifest that cannot be used: {error}.") from error

    async def _so_far(self) -> Listing | None:
        """Return what an execution that runs has shown; None if it has shown nothing."""
        if self._source.is_api or (self._source.expects_listing and not self._source.is_partial):
            return None
        try:
            listing = await self._understood(await self._read(PARTIAL_PATH), is_partial=True)
        except (MissingFileError, OriginRefusedError):
            return None
        if not len(listing):
            # So the server marks where readers have looked and nothing is any more.
            raise ResultChangedError(
                f"Nothing of {self._source.base} is shown any more: its execution has failed, or goes on under another "
                "address. Ask for its result again."
            )
        return listing

    async def _of_api(self, known: Listing | None) -> Listing | None:
        if known is not None or not self._source.expects_listing:
            return known
        files = await asyncio.to_thread(self._source.files)
        if files is None:
            raise LostObjectError(f"The publication at {self._source.base} is gone: its manifest is missing.")
        return Listing(files)
