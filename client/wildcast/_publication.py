"""Reading the files of one publication, with its manifest as the truth about which there are, and in which version."""

import asyncio
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import aiohttp

from wildcast._absent import UnlistedWarning, is_chunk, missing, not_a_file, pending, replaced
from wildcast._disk import in_thread
from wildcast._errors import (
    DamagedManifestError,
    LostObjectError,
    MissingFileError,
    NoListingError,
    OriginRefusedError,
    RangeNotSatisfiableError,
    ReadError,
    StaleObjectError,
    shown,
)
from wildcast._listing import Entry, Expected, Listing, version_of
from wildcast._partial import OnBytes, PartialFile
from wildcast._parts import SMALL, PartedFile, write_whole
from wildcast._ranges import ByteRange
from wildcast._receive import Answer, check_size, receive_head, receive_range, receive_whole
from wildcast._sources import UrlSource
from wildcast._transport import Receive, T, Transport
from wildcast.contract.manifest import ManifestError
from wildcast.contract.naming import MANIFEST_PATH, RESERVED

_NO_HEAD = frozenset({405, 501})
"""What a server answers that knows no HEAD."""


class PublicationReader:
    """Reads files below one signed prefix.

    The manifest is read with the first file, once, and every answer is held to it.

    Parameters
    ----------
    source
        Where the URL comes from.
    transport
        What makes the requests.
    files
        The files and their sizes in bytes, if they are known already: what the manifest is asked about besides.
    fill_missing
        Whether what a partial result lacks so far counts as never written.
    """

    def __init__(
        self,
        source: UrlSource,
        transport: Transport,
        files: Mapping[str, int] | None = None,
        *,
        fill_missing: bool = False,
    ) -> None:
        self._source, self._transport = source, transport
        self._fill_missing = fill_missing
        self._listing = None if files is None else Listing(files)
        self._is_settled = self._is_refused = self._has_warned = False
        self._versions: dict[str, int] = {}
        """Of files whose ETags no manifest tells, those that they had when a part was first read."""
        self.witness: str | None = None
        """A file that was read: by it a publication without a manifest is known again."""
        self._witnessed = float("-inf")
        self._loading: dict[asyncio.AbstractEventLoop, asyncio.Future[Listing | None]] = {}
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    @property
    def known(self) -> Listing | None:
        """The listing, if it has been needed before."""
        return self._listing

    async def prepare(self) -> None:
        """Have the source know where the files are."""
        await self._transport.prepare()

    async def known_listing(self) -> Listing | None:
        """Return the files as the first read must know them: None where nothing tells them, and reading may go on."""
        await self._settle()
        return self._listing

    async def read(self, key: str, wanted: ByteRange | None = None) -> bytes:
        """Return a file, or a part of it.

        Raises
        ------
        MissingFileError
            If the file was never part of the publication.
        PendingFileError
            If it may still become part of it, because the execution runs.
        LostObjectError
            If it is part of it, and the store lacks it.
        StaleObjectError
            If the store has another version of it than the manifest.
        ReadError
            For anything else.
        """
        if self._is_settled or _is_reserved(key):
            return (await self._answer(key, wanted)).body
        if self._listing is None:
            await self._settle()
            return (await self._answer(key, wanted)).body
        # That it exists is known, so it need not wait for the manifest: only what arrived must.
        task = asyncio.ensure_future(self._answer(key, wanted))
        try:
            await self._settle()
            answer = await task
        except BaseException:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        if (expected := self.expected(key)) is not None:
            answer.check(expected)
        return answer.body

    async def _answer(self, key: str, wanted: ByteRange | None) -> Answer:
        expected = self.expected(key)
        if wanted is None:
            return await self._request(key, _checked(lambda response: receive_whole(response, key, expected), expected))
        return await self._read_range(key, wanted, expected)

    async def _read_range(self, key: str, wanted: ByteRange, expected: Expected | None) -> Answer:
        if expected is not None and not wanted.satisfiable(expected.size):
            raise RangeNotSatisfiableError(
                f"The range asked for is not satisfiable: {shown(key)} has {expected.size} bytes, so ask for less."
            )
        try:
            answer = await self._request(
                key,
                _checked(lambda response: receive_range(response, key, wanted, expected), expected),
                headers=lambda: {"Range": wanted.header},
            )
        except RangeNotSatisfiableError:
            if expected is None:
                raise
            raise StaleObjectError(f"{shown(key)} is shorter in the store than the manifest says.") from None
        version = answer.part_version
        is_untold = version and expected is not None and not expected.version
        if is_untold and self._versions.setdefault(key, version) != version:
            raise replaced(key)
        return answer

    async def download(self, key: str, target: Path, on_bytes: OnBytes | None = None) -> None:
        """Write a file to `target`, whose directory exists; it appears there whole or not at all."""
        if not _is_reserved(key):
            await self._settle()
        expected = self.expected(key)
        if expected is not None and expected.crc is not None and expected.size <= SMALL:
            body = await self.read(key)
            await in_thread(write_whole, target, key, expected, body)
            if on_bytes is not None:
                on_bytes(len(body), len(body))
            return
        async with PartialFile(target, key, expected, on_bytes) as file:
            await self._request(key, file.receive, headers=lambda: file.headers)

    async def receive_part(self, file: PartedFile, key: str, number: int, on_bytes: Callable[[int], None]) -> None:
        """Bring one part of a large file to disk."""
        header = {"Range": file.range_of(number).header}
        await self._request(key, lambda response: file.receive(response, number, on_bytes), headers=lambda: header)

    async def entry(self, key: str) -> Entry:
        """Return what is at `key`, a file or a directory.

        Raises
        ------
        MissingFileError
            If nothing is there.
        NoListingError
            If no file is there, and nothing says whether a directory is.
        """
        listing = await self.listing()
        if _is_reserved(key):
            return await self._head(key)
        if listing is None:
            try:
                return await self._head(key)
            except MissingFileError:
                raise NoListingError(
                    f"There is no file {shown(key)}; whether files lie below it nothing says, because "
                    f"{self._source.base} has no manifest."
                ) from None
        entry = listing.entry(key)
        if entry is None:
            raise missing(key)
        return entry

    async def look_up(self, key: str) -> Expected:
        """Return what a file is like: by the manifest or, without one, as the store has it now.

        Raises
        ------
        MissingFileError
            If there is no such file.
        """
        await self.listing()
        expected = self.expected(key)
        if expected is not None and (expected.version or self._source.is_api):
            return expected
        try:
            head = await self._head(key)
        except ReadError as error:
            if expected is None or error.status not in _NO_HEAD:
                raise
            return expected
        size = head.size or 0
        if expected is not None:
            check_size(key, size, expected)
        return Expected(size, None if expected is None else expected.crc, version_of(head.etag))

    async def read_version(self, key: str, wanted: ByteRange, seen: Expected) -> bytes:
        """Return a part of a file as `look_up` has seen it.

        Raises
        ------
        StaleObjectError
            If it has been replaced since then.
        ReadError
            As `read` raises them.
        """
        expected = self.expected(key)
        if expected is not None and expected.version:
            return await self.read(key, wanted)
        try:
            return (await self._read_range(key, wanted, seen)).body
        except StaleObjectError:
            raise replaced(key) from None

    async def _head(self, key: str) -> Entry:
        if not key:
            return Entry("", None)
        return await self._request(key, lambda response: receive_head(response, key), method="HEAD")

    async def listing(self) -> Listing | None:
        """Return the files; None where nothing says which there are. Asked for once, then kept.

        Raises
        ------
        DamagedManifestError
            If there is a manifest that cannot be understood.
        LostObjectError
            If the API has published this, and neither manifest nor API know its files any more.
        OriginRefusedError
            If the store does not say whether there is a manifest.
        ReadError
            If the manifest cannot be read now.
        """
        if self._is_settled:
            return self._listing
        loop = asyncio.get_running_loop()
        loading = self._loading.get(loop)
        if loading is None:
            loading = self._loading[loop] = asyncio.ensure_future(self._load())
            loading.add_done_callback(partial(self._settled, loop))
        # Shared, and not behind a lock: all that wait for it go on at the same time.
        return await asyncio.shield(loading)

    def _settled(self, loop: asyncio.AbstractEventLoop, loading: asyncio.Future[Listing | None]) -> None:
        self._loading.pop(loop, None)
        if not loading.cancelled() and loading.exception() is None:
            self._listing, self._is_settled = loading.result(), True

    async def _settle(self) -> None:
        """Have the manifest, if there is one that can be had."""
        if self._is_settled or self._is_refused:
            return
        try:
            await self.listing()
        except OriginRefusedError:
            # Of a store that may not be listed this is what a missing manifest looks like. What can be read is read;
            # whether a file that cannot is missing, the same answer leaves open.
            self._is_refused = True

    def _lock(self) -> asyncio.Lock:
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _load(self) -> Listing | None:
        try:
            await self._transport.prepare()
            data = await asyncio.to_thread(self._source.manifest) if self._source.is_api else None
            if data is None:
                answer = await self._transport.request(
                    MANIFEST_PATH,
                    lambda response: receive_whole(response, MANIFEST_PATH, None),
                    link=self._source.manifest_link,
                )
                data = answer.body
        except MissingFileError:
            return await self._ask_api()
        except OriginRefusedError:
            if self._listing is None and not self._source.expects_listing:
                raise
            return await self._ask_api()
        try:
            return await asyncio.to_thread(Listing.of_manifest, data, self._source.directory)
        except ManifestError as error:
            raise DamagedManifestError(f"{self._source.base} has a manifest that cannot be used: {error}.") from error

    async def _ask_api(self) -> Listing | None:
        if self._listing is not None or not self._source.expects_listing:
            return self._listing
        files = await asyncio.to_thread(self._source.files)
        if files is None:
            raise LostObjectError(f"The publication at {self._source.base} is gone: its manifest is missing.")
        return Listing(files)

    def expected(self, key: str) -> Expected | None:
        """Return what is known about a file; None where nothing is.

        Raises
        ------
        MissingFileError
            If it is known that there is no such file; a `NotAFileError` if it is a directory.
        PendingFileError
            If it may still come.
        """
        if self._listing is None or _is_reserved(key):
            return None
        found = self._listing.expected(key)
        if found is None:
            raise self._absent(key, self._listing)
        return found

    def _absent(self, key: str, listing: Listing) -> ReadError:
        if listing.is_directory(key):
            return not_a_file(key)
        return pending(key) if self._may_come(key) else missing(key)

    def _may_come(self, key: str) -> bool:
        """Whether a file that is not there could be one that the execution has not written yet."""
        listing = self._listing
        if self._fill_missing or not self._source.is_partial or _is_reserved(key):
            return False
        # A manifest is of what is complete: then the execution has ended meanwhile.
        return listing is None or (not listing.tells_versions and listing.may_grow_by(key))

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
            if self._may_come(key):
                raise pending(key)
            self._warn_of_gap(key)
        elif listing.size(key) is not None:
            raise LostObjectError(
                f"{shown(key)} is part of this publication, but the store does not have it any more; "
                "this is a defect, not a gap in the data. Ask the operators of the service."
            )

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
                self._is_settled = False
                raise LostObjectError(
                    f"{self._source.base} had files and has none now: it was removed, or something else answers "
                    "in its place. Open the result again."
                ) from None
            self._witnessed = began


def _checked(receive: Receive[Answer], expected: Expected | None) -> Receive[Answer]:
    """Check an answer where it is received, so that one of another version is asked for again."""

    async def received(response: aiohttp.ClientResponse) -> Answer:
        answer = await receive(response)
        if expected is not None:
            answer.check(expected)
        return answer

    return received


async def _nothing(_response: aiohttp.ClientResponse) -> None:
    """Leave the body: that there is one says enough."""


def _is_reserved(key: str) -> bool:
    return key == RESERVED or key.startswith(f"{RESERVED}/")
