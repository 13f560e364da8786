"""Reading the files of one publication, with its manifest as the truth about which there are, and in which version."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from wildcast._absent import missing, replaced
from wildcast._disk import in_thread
from wildcast._errors import (
    LostObjectError,
    MissingFileError,
    NoListingError,
    OriginRefusedError,
    RangeNotSatisfiableError,
    ReadError,
    StaleObjectError,
    shown,
)
from wildcast._gaps import Gaps
from wildcast._listing import Entry, Expected, Listing, is_reserved, version_of
from wildcast._loops import Shared
from wildcast._manifests import Manifests
from wildcast._partial import OnBytes, PartialFile
from wildcast._parts import SMALL, PartedFile, write_whole
from wildcast._ranges import ByteRange
from wildcast._receive import Answer, check_size, receive_head, receive_range, receive_whole
from wildcast._sources import UrlSource
from wildcast._transport import Receive, T, Transport
from wildcast.contract.naming import is_metadata

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
        self._manifests, self._gaps = Manifests(source, transport), Gaps(source, transport, fill_missing=fill_missing)
        self._listing = None if files is None else Listing(files)
        self._is_settled = self._is_refused = False
        self._versions: dict[str, int] = {}
        """Of files whose ETags no manifest tells, those that they had when a part was first read."""
        self.witness: str | None = None
        """A file that was read: by it a publication without a manifest is known again."""
        self._loading = Shared(self._load)

    @property
    def known(self) -> Listing | None:
        """The listing, if it has been needed before."""
        return self._listing

    @property
    def is_partial(self) -> bool:
        """Whether the execution still ran, as far as is known: files may come, and metadata change."""
        return self._gaps.is_partial(self._listing)

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
        if self._is_settled or is_reserved(key):
            return (await self._answer(key, wanted)).body
        if self._listing is None or self._listing.size(key) is None:
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
        if not is_reserved(key):
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
        if is_reserved(key):
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
        ReadError
            As `Manifests.load` raises it.
        """
        return self._listing if self._is_settled else await self._loading.result()

    async def _load(self) -> Listing | None:
        self._listing = await self._manifests.load(self._listing)
        self._is_settled = True
        return self._listing

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

    def expected(self, key: str) -> Expected | None:
        """Return what a file must be like; None where nobody knows.

        Raises
        ------
        MissingFileError
            If it is known that there is no such file; a `NotAFileError` if it is a directory.
        PendingFileError
            If it may still come.
        """
        if self._listing is None or is_reserved(key):
            return None
        found = self._listing.expected(key)
        if found is None:
            raise self._gaps.absent(key, self._listing)
        # Metadata are written again while the execution runs, so the list's word on them does not last.
        return None if self.is_partial and is_metadata(key) else found

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
        if self.witness is None and not is_reserved(key):
            self.witness = key
        return body

    async def _check_never_written(self, key: str) -> None:
        missed = time.monotonic()
        listing = await self.listing()
        try:
            await self._gaps.check(key, listing, self.witness, missed)
        except LostObjectError:
            # Where nothing lists the files everything is gone, and it may come back with a manifest.
            self._is_settled = listing is not None
            raise


def _checked(receive: Receive[Answer], expected: Expected | None) -> Receive[Answer]:
    """Check an answer where it is received, so that one of another version is asked for again."""

    async def received(response: aiohttp.ClientResponse) -> Answer:
        answer = await receive(response)
        if expected is not None:
            answer.check(expected)
        return answer

    return received
