"""An fsspec filesystem over one wildcard signed URL."""

import asyncio
import functools
import hashlib
import os
import secrets
import weakref
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from fsspec.asyn import sync
from fsspec.core import has_magic

from wildcast._absent import missing, replaced
from wildcast._codecs import check_codecs
from wildcast._consolidated import CONSOLIDATED, Consolidated, consolidated_of
from wildcast._errors import DatasetError, MissingFileError, NoListingError, shown
from wildcast._listing import Entry, Expected, Listing, is_below
from wildcast._mapping import SignedMap
from wildcast._options import source_of_options
from wildcast._paths import check_named, describe, file_key_of, is_cached, key_of, path_of, place_of, url_of
from wildcast._patterns import pattern_of
from wildcast._portable import check_portable
from wildcast._publication import PublicationReader
from wildcast._ranges import ByteRange
from wildcast._read_only import ReadOnlyFileSystem, refuse_writing
from wildcast._retry import Retry
from wildcast._signed_file import BLOCK, SignedFile
from wildcast._sources import UrlSource
from wildcast._transport import Transport
from wildcast._zarr_config import raise_concurrency
from wildcast.contract.naming import is_metadata

_NAMED = 10
"""Stores that an error names."""


class SignedFileSystem(ReadOnlyFileSystem):
    """The files of one publication, read through a CDN by a wildcard signed URL.

    The synchronous methods run on fsspec's own event loop; the asynchronous ones, with a leading underscore, on
    whatever loop awaits them, which is how zarr reads chunks concurrently. Paths are relative to the publication.

    The manifest is read with the first file. It decides what is missing: a file that it lists and the store lacks is an
    error, never a gap. It also decides which version is right: what differs from its size, ETag or checksum is an
    error. While an execution runs, the list of what is there so far stands in for it: what that lacks may still come,
    and is a `PendingFileError`. Without either only a 404 means that a file is missing, and that only as long as what
    was read before is still there; and nothing can be listed.

    By URL, as ``wildcast://<path>``, the parameters are the ``storage_options``. ``wildcast://<name>/<path>`` names the
    publication as well, by its execution; `Result.url` gives it, and caches of fsspec's take no other. Making a
    filesystem asks nobody for anything: the first read does.

    Parameters
    ----------
    source
        A wildcard signed URL ``<base>/*?<query>``, or an object that renews one. That of a directory of a publication
        covers no manifest, unless it brings it along (`Result.sign`): then an `UnlistedWarning` says so. That of an
        execution that still runs is known to be such a one by the list of what is there so far.
    signed_url
        The same URL, as storage option; a secret until it ends, which is when reading does.
    server, workflow, execution
        In place of a URL: the API's address, and which execution it is to sign for, anew whenever the URL ends. These
        are no secrets. The process that reads has the token: ``WILDCAST_TOKEN`` for the server that ``WILDCAST_URL``
        or ``wildcast login`` names, and for no other that stands here, or the one that was stored for the server.
    partial
        Whether what there is so far will do, of an execution that still runs.
    fill_missing
        Whether what such a one lacks so far reads as never written, which zarr fills up; it is an error otherwise.
    files
        The publication's files and their sizes in bytes, if they are known already; not pickled.
    retry
        How often, and how soon, a request is repeated.
    timeout
        Seconds that a connection may stay silent.
    **storage_options
        fsspec's own: ``loop``, ``batch_size``, and ``asynchronous``: False below a filesystem that is synchronous, such
        as ReferenceFileSystem outside of zarr; both kinds of methods work either way.

    Raises
    ------
    InvalidUrlError
        If a URL is not such a one.
    TypeError
        If neither a URL nor an execution is named, or both are.
    """

    protocol = "wildcast"
    # An instance in fsspec's cache would outlive its result, and its renewed URL with it.
    cachable = False

    def __init__(  # noqa: PLR0913 - each is a storage option of its own
        self,
        source: str | UrlSource | None = None,
        *,
        signed_url: str | None = None,
        server: str | None = None,
        workflow: str | None = None,
        execution: str | None = None,
        partial: bool = False,
        fill_missing: bool = False,
        files: Mapping[str, int] | None = None,
        retry: Retry | None = None,
        timeout: float = 60.0,
        **storage_options: Any,
    ) -> None:
        # fsspec gives a loop for the synchronous methods to a synchronous filesystem only, and zarr wants to hear
        # that it may await the others. This class can do both, so it says both.
        asynchronous = storage_options.pop("asynchronous", True)
        super().__init__(**storage_options)
        self.asynchronous = asynchronous
        self._source = source_of_options(
            source, signed_url, server=server, workflow=workflow, execution=execution, partial=partial
        )
        self._options: dict[str, Any] = {
            "retry": retry,
            "timeout": timeout,
            "asynchronous": asynchronous,
            "fill_missing": fill_missing,
        }
        transport = Transport(self._source, retry or Retry(), timeout)
        self._reader = PublicationReader(self._source, transport, files, fill_missing=fill_missing)
        self._consolidated = Consolidated(self._reader.read)
        self._identity = secrets.token_hex(16)
        _here[self._identity] = self

    def __repr__(self) -> str:
        return f"<SignedFileSystem {self._source.base}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (self._identity, self._source, self._options, self._reader.witness)

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Describe the filesystem without its signature: enough to name it, and to open it where the API signs."""
        del include_password
        name = f"{type(self).__module__}:{type(self).__name__}"
        options = self._source.storage_options
        args = [] if options else [f"{self._source.base}/*"]
        filled = {"fill_missing": True} if self._options["fill_missing"] else {}
        return {"cls": name, "protocol": self.protocol, "args": args, **options, **filled}

    @property
    def _fs_token(self) -> str:
        # Of the name alone, so that dask's names for a task stay the same when the URL is renewed. What is partial has
        # other values each time that it is asked for.
        may_change = self._options["fill_missing"] or self._source.storage_options.get("partial")
        own = self._identity if may_change else ""
        return hashlib.sha256(f"wildcast {self._source.name} {own}".encode()).hexdigest()

    @property
    def fsid(self) -> str:
        """A name for this publication that is the same in every process."""
        return f"wildcast_{self._fs_token[:32]}"

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path; it names the publication as well, as fsspec's caches need it."""
        self._source.prepare()
        return url_of(key_of(self._strip_protocol(name), self._source.label), self._source.label)

    def get_mapper(self, root: str = "", **options: Any) -> SignedMap:
        """Map the keys below a path to their bytes."""
        return SignedMap(root, self, **options)

    def path_of(self, key: str) -> str:
        """Return the path of a file or directory whose place in the publication is known, whatever it is called."""
        return path_of(key, self._source.label)

    def ukey(self, path: str) -> str:
        """Return what tells this file, of this publication and as it is now, from all others."""
        told = f"{self._source.name} {self.info(path)} {self._source.base}"
        return hashlib.sha256(told.encode()).hexdigest()

    def checksum(self, path: str) -> int:
        """Return `ukey` as a number."""
        return int(self.ukey(path), 16)

    async def _key(self, path: str) -> str:
        await self._reader.prepare()
        return key_of(self._strip_protocol(path), self._source.label)

    async def _file_key(self, path: str) -> str:
        await self._reader.prepare()
        return file_key_of(self._strip_protocol(path), self._source.label)

    def _describe(self, entry: Entry, asked: str) -> dict[str, Any]:
        return describe(entry, self._strip_protocol(asked), self._source.label)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        key = await self._file_key(path)
        raise_concurrency()
        if is_metadata(key):
            whole = await self._metadata(key)
            return whole if start is None and end is None else whole[start:end]
        if not start and end is None:
            return await self._reader.read(key)
        wanted = await self._range(key, start or 0, end)
        if wanted is None:
            await self._reader.look_up(key)  # Of what is not there no part is empty.
            return b""
        return await self._reader.read(key, wanted)

    async def _metadata(self, key: str) -> bytes:
        """Return an object that describes others, if what it describes can be read without running code."""
        body = None
        consolidated = consolidated_of(key)
        if key.rpartition("/")[2] == CONSOLIDATED:
            body = await self._consolidated.body(key)
        elif consolidated is not None:
            listing = await self._reader.known_listing()
            expected = self._reader.expected(key)
            if listing is not None and expected is not None and listing.size(consolidated) is not None:
                body = await self._consolidated.rebuilt(key, expected)
        try:
            body = await self._reader.read(key) if body is None else body
        except MissingFileError:
            await self._check_store(key)
            raise
        check_codecs(key, body)
        return body

    async def _check_store(self, key: str) -> None:
        """Raise, with the names of the stores that there are, if metadata were looked for where no store is."""
        directory, listing = key.rpartition("/")[0], self._reader.known
        stores = [] if listing is None else await asyncio.to_thread(listing.stores)
        if stores and not any(is_below(directory, store) for store in stores):
            there = ", ".join(map(shown, stores[:_NAMED])) + (", …" if len(stores) > _NAMED else "")
            where = f"at {shown(directory)}" if directory else "in the root"
            raise DatasetError(f"There is no zarr store {where} of this result; give the path of one: {there}.")

    async def _range(self, key: str, start: int, end: int | None) -> ByteRange | None:
        if end is not None and (start < 0 or end < 0):
            size = (await self._reader.look_up(key)).size
            start = max(size + start, 0) if start < 0 else start
            end = size + end if end < 0 else end
        return None if end is not None and start >= end else ByteRange(start, end)

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = None, **_: Any) -> None:
        key, target = await self._key(rpath), Path(lpath)
        if is_cached(name := self._strip_protocol(rpath), target):
            await self._reader.known_listing()
            check_named(name, self._source, is_partial=self._reader.is_partial)
        if key:
            check_portable(key)
        known = self._reader.known
        if not key or (known is not None and known.is_directory(key)):
            await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
            return
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        if is_metadata(key):
            await self._metadata(key)  # Whoever reads a copy, as simplecache does, decodes it with the same codecs.
        await self._reader.download(key, target, functools.partial(_report, callback))

    async def _expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, assume_literal: bool = False
    ) -> list[str]:
        names = [self._strip_protocol(each) for each in ([path] if isinstance(path, str) else path)]
        literal = names if assume_literal else [name for name in names if await self._is_no_pattern(name)]
        patterns = [name for name in names if name not in literal]
        expand = functools.partial(super()._expand_path, recursive=recursive, maxdepth=maxdepth)
        found = set(await expand(literal, assume_literal=True)) if literal else set()
        try:
            found.update(await expand(patterns) if patterns else ())
        except FileNotFoundError:
            if not found:
                raise missing(str(path)) from None
        return sorted(found)

    async def _is_no_pattern(self, name: str) -> bool:
        """Whether a name means itself: it has nothing of a pattern in it, or is there as it is written."""
        if not has_magic(name):
            return True
        try:
            await self._reader.entry(await self._key(name))
        except (MissingFileError, NoListingError):
            return False
        return True

    async def _get(self, rpath: Any, lpath: Any, recursive: bool = False, **options: Any) -> Any:
        # Of one file fsspec's own way depends on whether its name looks like a pattern, and on a slash in it.
        if isinstance(rpath, str) and await self._is_no_pattern(rpath) and await self._isfile(rpath):
            rpath, lpath = [rpath], [place_of(rpath, str(lpath))]
        return await super()._get(rpath, lpath, recursive, **options)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> SignedFile:
        if mode != "rb":
            refuse_writing()
        key, seen = sync(self.loop, self._look_up, path)
        size = options.pop("size", seen.size)
        if size is None:
            # So fsspec's block cache asks for a file that it has not kept yet.
            check_named(self._strip_protocol(path), self._source, is_partial=self._reader.is_partial)
        elif size != seen.size:
            raise replaced(path)  # Since it was pickled, or since a cache has begun to keep it.
        options.setdefault("cache_type", "blockcache")
        found = self._describe(Entry(key, seen.size), path)
        details = {**found, "publication": self.fsid, "version": seen.version}
        fetch = functools.partial(sync, self.loop, self._cat_version, key, seen)
        return SignedFile(self, path, mode, block_size or BLOCK, details=details, fetch=fetch, **options)

    async def _look_up(self, path: str) -> tuple[str, Expected]:
        key = await self._file_key(path)
        return key, await self._reader.look_up(key)

    async def _cat_version(self, key: str, seen: Expected, start: int, end: int) -> bytes:
        """Return a part of a file that was opened."""
        end = min(end, seen.size)
        if start >= end:
            return b""
        if not is_metadata(key):
            return await self._reader.read_version(key, ByteRange(start, end), seen)
        whole = await self._metadata(key)
        if len(whole) != seen.size:
            raise replaced(key)
        return whole[start:end]

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return self._describe(await self._reader.entry(await self._key(path)), path)

    async def _exists(self, path: str, **_: Any) -> bool:
        try:
            await self._info(path)
        except MissingFileError:
            return False
        return True

    async def _isfile(self, path: str) -> bool:
        try:
            return (await self._reader.entry(await self._key(path))).size is not None
        except (MissingFileError, NoListingError):
            return False  # That no file is there is known without a list.

    async def _isdir(self, path: str) -> bool:
        # fsspec's own takes every error for "no", a refusal too.
        try:
            return str((await self._info(path))["type"]) == "directory"
        except MissingFileError:
            return False

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        key, listing = await self._key(path), await self._listing()
        entry = listing.entry(key)
        if entry is None:
            raise missing(key)
        entries = listing.children(key) if entry.size is None else [entry]
        described = [self._describe(child, path) for child in entries]
        return described if detail else [info["name"] for info in described]

    async def _walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "raise", **options: Any
    ) -> AsyncIterator[Any]:
        # fsspec's default omits what cannot be listed: a refusal would look like an empty directory.
        async for step in super()._walk(path, maxdepth, topdown, on_error, **options):
            yield step

    async def _glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        pattern_of(path)
        return await super()._glob(path, maxdepth, **options)

    async def _find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any) -> Any:
        listing, is_detailed = await self._listing(), options.get("detail")
        try:
            entry = listing.entry(await self._key(path))
        except MissingFileError:
            entry = None
        if entry is None:
            return {} if is_detailed else []
        if maxdepth is not None or withdirs:
            return await super()._find(path, maxdepth, withdirs, **options)
        entries = listing.below(entry.path) if entry.size is None else [entry]
        asked = self._strip_protocol(path).strip("/")
        infos = {info["name"]: info for info in (self._describe(entry, asked) for entry in entries)}
        return infos if is_detailed else list(infos)

    async def _listing(self) -> Listing:
        listing = await self._reader.listing()
        if listing is None:
            raise NoListingError(
                f"{self._source.base} has no manifest, so nothing says which files there are; open what you know "
                "by its path, with consolidated metadata."
            )
        return listing


_here: weakref.WeakValueDictionary[str, SignedFileSystem] = weakref.WeakValueDictionary()
_kept: deque[SignedFileSystem] = deque(maxlen=16)
"""Copies that arrived by pickle: each task of dask brings one of its own."""


def _revived(identity: str, source: UrlSource, options: dict[str, Any], witness: str | None) -> SignedFileSystem:
    """Return this process's copy of a pickled filesystem, with its manifest and its renewed URL."""
    found = _here.get(identity)
    # A forked child must not use its parent's: its event loop is not there.
    if found is None or found._pid != os.getpid():  # noqa: SLF001 - fsspec's
        found = SignedFileSystem(source, **options)
        found._identity, found._reader.witness = identity, witness  # noqa: SLF001 - a copy of its own kind
        _here[identity] = found
        _kept.append(found)
    return found


def _report(callback: Any, done: int, total: int | None) -> None:
    if callback is not None:
        callback.set_size(total)
        callback.absolute_update(done)
