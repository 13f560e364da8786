"""What it means that a file is not there: it was never written, is not there yet, or is lost."""

import asyncio
import time
import warnings
import weakref

import aiohttp

from wildcast._absent import UnlistedWarning, is_chunk, missing, not_a_file, pending
from wildcast._errors import LostObjectError, MissingFileError, RangeNotSatisfiableError, ReadError, shown
from wildcast._listing import Listing, is_reserved
from wildcast._sources import UrlSource
from wildcast._transport import Transport


class Gaps:
    """Judges what one publication lacks.

    Parameters
    ----------
    source
        Where the publication is.
    transport
        What makes the requests.
    fill_missing
        Whether what a partial result lacks so far counts as never written.
    """

    def __init__(self, source: UrlSource, transport: Transport, *, fill_missing: bool = False) -> None:
        self._source, self._transport, self._fill_missing = source, transport, fill_missing
        self._has_warned = False
        self._witnessed = float("-inf")
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    def is_partial(self, listing: Listing | None) -> bool:
        """Whether a publication with these files is one of an execution that still runs, as far as is known."""
        if listing is not None and listing.tells_versions:
            # Once there is a manifest, the execution has ended meanwhile.
            return listing.is_partial
        return self._source.is_partial

    def absent(self, key: str, listing: Listing) -> ReadError:
        """Return the error for a file that is not listed."""
        if listing.is_directory(key):
            return not_a_file(key)
        return pending(key) if self._may_come(key, listing) else missing(key)

    def _may_come(self, key: str, listing: Listing | None) -> bool:
        """Whether a file that is not there could be one that the execution has not written yet."""
        if self._fill_missing or is_reserved(key) or not self.is_partial(listing):
            return False
        return listing is None or listing.may_grow_by(key)

    async def check(self, key: str, listing: Listing | None, witness: str | None, missed: float) -> None:
        """Hold that a file which the CDN has not was never written.

        Parameters
        ----------
        key
            The file.
        listing
            The files that there are, if anything says so.
        witness
            A file that was read before, if one was.
        missed
            When the file was missed, on the monotonic clock.

        Raises
        ------
        LostObjectError
            If it is listed; or if nothing is, and the witness is gone as well.
        PendingFileError
            If it may still be written.
        """
        if listing is None:
            await self._check_still_there(witness, missed)
            if self._may_come(key, listing):
                raise pending(key)
            self._warn_of_gap(key)
        elif listing.size(key) is not None:
            raise _removed(key) if self.is_partial(listing) else _lost(key)

    def _warn_of_gap(self, key: str) -> None:
        """Say once that a gap is one as far as anybody knows."""
        if self._has_warned or not is_chunk(key):
            return
        self._has_warned = True
        warnings.warn(
            f"{shown(key)} is not there, and nothing lists the files below {self._source.base}: it reads as never "
            "written, as others may, although the store may have lost it. Only a manifest tells the two apart.",
            UnlistedWarning,
            stacklevel=2,
        )

    async def _check_still_there(self, witness: str | None, missed: float) -> None:
        """Hold that not everything is gone, manifest and all: a deleted publication is no store full of gaps."""
        if witness is None:
            return
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._witnessed > missed:
                return  # Found by a request that began after this file was missed.
            began = time.monotonic()
            try:
                await self._transport.request(witness, _nothing, headers=lambda: {"Range": "bytes=0-0"})
            except RangeNotSatisfiableError:
                pass  # It is empty, and there.
            except MissingFileError:
                raise LostObjectError(
                    f"{self._source.base} had files and has none now: it was removed, or something else answers "
                    "in its place. Open the result again."
                ) from None
            self._witnessed = began


async def _nothing(_response: aiohttp.ClientResponse) -> None:
    """Leave the body: that there is one says enough."""


def _lost(key: str) -> LostObjectError:
    return LostObjectError(
        f"{shown(key)} is part of this publication, but the store does not have it any more; "
        "this is a defect, not a gap in the data. Ask the operators of the service."
    )


def _removed(key: str) -> LostObjectError:
    return LostObjectError(
        f"{shown(key)} was there while the execution ran, and is not there any more: the result was published anew, or "
        "without it. Ask for the result again; if that has it and it cannot be read, tell the operators of the service."
    )
