"""Every backend over obstore: the port's methods, written once.

What differs between the backends is in `Traits`, and in the subclasses of those that need code of their own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

import obstore

from wildcast.contract.naming import MAX_KEY_BYTES, InvalidPathError, check_key
from wildcast_server.errors import InvalidKeyError, NotFoundError, StoreError, StoreIoError, UnsupportedError
from wildcast_server.store._begun import begin_put
from wildcast_server.store._errors import DRIVER_ERRORS, Action, translate, unsatisfiable
from wildcast_server.store._ranges import get_options, is_empty
from wildcast_server.store._repeating import RepeatingStore
from wildcast_server.store._traits import Parts, Traits, driver_attributes
from wildcast_server.store.base import (
    ByteRange,
    Later,
    ObjectAttributes,
    ObjectInfo,
    ObjectRange,
    ObjectStream,
    PutEnded,
    SuffixRange,
    too_short,
)
from wildcast_server.store.retry import ONE_TRY, WORTH_ANOTHER_TRY, RetryPolicy

if TYPE_CHECKING:
    from obstore import Attributes, GetResult, ObjectMeta
    from obstore.store import ObjectStore as Driver

Result = TypeVar("Result")

LIST_PAGE = 1000
"""As many as S3 lists, and deletes, in one request."""

STREAM_CHUNK = 1 << 20
"""Bytes that `stream` yields at a time, at least."""

STREAM_THREADS = 32
"""Threads that `stream` reads with; they are made as they are needed."""


class ObstoreStore(RepeatingStore):
    """An object store over an obstore driver.

    Parameters
    ----------
    uri
        Without a trailing slash.
    driver
        obstore's own store, which knows the bucket.
    base
        What comes before every key; empty for none.
    traits
        What the backend can do.
    single
        A driver that repeats nothing, for the requests that `retry` repeats: writes in one request, looks, deletions.
        None: `driver`.
    retry
        How those are repeated.
    """

    def __init__(
        self,
        uri: str,
        driver: "Driver",
        base: str = "",
        traits: Traits | None = None,
        *,
        single: "Driver | None" = None,
        retry: RetryPolicy = ONE_TRY,
    ) -> None:
        super().__init__(retry)
        self.uri = uri
        self._driver = driver
        self._base = base
        self._base_slash = f"{base}/" if base else ""
        self._traits = traits or Traits()
        self._tags = self._traits.tags or None
        self._single = single or driver
        self._known_attributes: dict[ObjectAttributes | None, Attributes | None] = {}
        self._readers = ThreadPoolExecutor(STREAM_THREADS, thread_name_prefix="store")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    @property
    def checks_crc64nvme(self) -> bool:
        return self._traits.checks_crc64nvme

    @property
    def etags_are_md5(self) -> bool:
        return self._traits.etags_are_md5

    def get(self, key: str, byte_range: ObjectRange | None = None) -> bytes:
        def read() -> bytes:
            result = self._ask(self._single, key, byte_range)
            with self._errors(key, "read"):
                return bytes(result.bytes())

        return self._repeated(read)

    def read_into(self, key: str, buffer: memoryview, start: int = 0) -> str | None:
        return self._repeated(lambda: self._fill(key, buffer, start))

    def _fill(self, key: str, buffer: memoryview, start: int) -> str | None:
        stop = start + len(buffer)
        result = self._ask(self._single, key, ByteRange(start, stop))
        size = result.meta["size"]
        if size < stop:
            raise too_short(self._uri_of(key), size, stop)
        filled = 0
        with self._errors(key, "read"):
            for chunk in result.stream(min_chunk_size=STREAM_CHUNK):
                room = max(len(buffer) - filled, 0)
                buffer[filled : filled + len(chunk)] = memoryview(chunk)[:room]
                filled += len(chunk)
        if filled != len(buffer):
            uri = self._uri_of(key)
            raise StoreIoError(f"{uri} did not come as long as was announced; try again", uri)
        return result.meta["e_tag"]

    async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
        result = await self._in_thread(lambda: self._renewing(lambda: self._ask(self._driver, key, byte_range)))
        start, stop = result.range
        attributes = ObjectAttributes(
            content_type=result.attributes.get("Content-Type"),
            cache_control=result.attributes.get("Cache-Control"),
        )
        return ObjectStream(self._info(result.meta), attributes, start, stop, self._chunks(key, result))

    def _ask(self, driver: "Driver", key: str, byte_range: ObjectRange | None) -> "GetResult":
        """Begin to read, by a driver that repeats requests or one that does not."""
        path = self._path(key)
        wanted = self._known_range(key, byte_range)
        with self._reading(key, wanted):
            result = obstore.get(driver, path, options=get_options(wanted))
            self._check_range(key, wanted, result.meta["size"])
            return result

    def _known_range(self, key: str, byte_range: ObjectRange | None) -> ObjectRange | None:
        """Return a range in a form that the service knows."""
        del key
        return byte_range

    async def _chunks(self, key: str, result: "GetResult") -> AsyncIterator[bytes]:
        source = iter(result.stream(min_chunk_size=STREAM_CHUNK))
        with self._errors(key, "read"):
            while (chunk := await self._in_thread(lambda: next(source, None))) is not None:
                yield chunk

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        # obstore's own coroutines are finished by threads of its own, which call into Python a moment later still:
        # an interpreter that ends within that moment is aborted.
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        path = self._path(key)
        began = time.monotonic()
        try:
            return self._put(path, data, attributes)
        except WORTH_ANOTHER_TRY as error:
            return self._again(error, began, lambda: self._put(path, data, attributes))

    @property
    def begins_puts(self) -> bool:
        return self._traits.begins_puts

    def begin_put(
        self, key: str, data: bytes, attributes: ObjectAttributes | None, ended: PutEnded, later: Later
    ) -> None:
        if not self.begins_puts:
            super().begin_put(key, data, attributes, ended, later)
            return
        path = self._path(key)

        def translated(error: BaseException) -> BaseException:
            return translate(error, self._uri_of(key), "written") if isinstance(error, DRIVER_ERRORS) else error

        first_ended = self._first_ended(translated, lambda: self._put(path, data, attributes), ended, later)
        described = self._attributes(attributes)
        begin_put(self._single, path, data, first_ended, later, attributes=described, tags=self._tags)

    def put_if_absent(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        path = self._path(key)
        return self._repeated(lambda: self._put(path, data, attributes, "create"))

    def _put(
        self,
        path: str,
        data: bytes,
        attributes: ObjectAttributes | None,
        mode: Literal["create", "overwrite"] = "overwrite",
    ) -> str | None:
        try:
            return obstore.put(
                self._single,
                path,
                data,
                use_multipart=False,
                mode=mode,
                attributes=self._attributes(attributes),
                tags=self._tags,
            )["e_tag"]
        except DRIVER_ERRORS as error:
            raise translate(error, self._uri_of(self._key(path)), "written") from error

    def put_parts(
        self,
        key: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None = None,
        if_absent: bool = False,
        size: int | None = None,
    ) -> str | None:
        del size
        path = self._path(key)
        if if_absent:
            raise UnsupportedError(f"{self.uri} cannot create a large object only if there is none", self._uri_of(key))
        source = Parts(parts)
        try:
            return obstore.put(
                self._driver,
                path,
                iter(source),
                chunk_size=part_size,
                max_concurrency=concurrency,
                attributes=self._attributes(attributes),
                tags=self._tags,
            )["e_tag"]
        except DRIVER_ERRORS as error:
            raise self._met(source.translate(error, self._uri_of(key))) from error

    def head(self, key: str) -> ObjectInfo:
        path = self._path(key)

        def look() -> ObjectInfo:
            with self._errors(key, "read"):
                return self._info(obstore.head(self._single, path))

        return self._repeated(look)

    def full_checksum(self, key: str) -> str | None:
        self._path(key)
        return None

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        path = self._below(prefix)
        reached = None if after is None else self._path(after)
        pages: Iterator[Sequence[ObjectMeta]] | None = None

        def turn() -> "Sequence[ObjectMeta] | None":
            nonlocal pages
            with self._errors(prefix, "listed"):
                # A listing that broke off goes on behind what came last, for remote stores list in order.
                found = pages or iter(obstore.list(self._single, path, offset=reached, chunk_size=LIST_PAGE))
                pages = None
                page = next(found, None)
                pages = found
                return page

        try:
            while (page := self._repeated(turn)) is not None:
                yield from map(self._info, page)
                reached = page[-1]["path"] if page else reached
        except NotFoundError:
            # Below a file there is nothing, but only stores of files have to say so.
            return

    def delete(self, key: str) -> None:
        self._delete_one(self._path(key), key)

    def _delete_one(self, path: str, key: str) -> None:
        def delete() -> None:
            with self._errors(key, "deleted"):
                obstore.delete(self._single, path)

        try:
            self._repeated(delete)
        except FileNotFoundError:
            return

    def delete_prefix(self, prefix: str) -> int:
        if not prefix.strip("/"):
            raise InvalidKeyError(f"refusing to delete all of {self.uri}: name a prefix", self.uri)
        # A list, because deleting while listing leaves some stores' listings with gaps.
        keys = [info.key for info in self.list(prefix)]
        for start in range(0, len(keys), LIST_PAGE):
            self._delete_many(keys[start : start + LIST_PAGE])
        return len(keys)

    def _delete_many(self, keys: Sequence[str]) -> None:
        paths = [self._path(key) for key in keys]

        def delete() -> None:
            with self._errors(keys[0], "deleted"):
                obstore.delete(self._single, paths)

        try:
            self._repeated(delete)
        except FileNotFoundError:
            # Somebody else removed one of them; the rest may still be there.
            for path, key in zip(paths, keys, strict=True):
                self._delete_one(path, key)

    def _path(self, key: str) -> str:
        """Check a key, and return it as the driver knows it."""
        path = self._base_slash + key
        # Nearly for nothing where it is plain ASCII, as it is thousands of times in a row.
        if path.isascii() and path.isprintable() and key and len(path) <= MAX_KEY_BYTES:
            framed = f"/{key}/"
            if not ("//" in framed or "/./" in framed or "/../" in framed):
                return path
        try:
            return check_key(self._base_slash + check_key(key))
        except InvalidPathError as error:
            raise InvalidKeyError(f"not a key that {self.uri} can hold: {error}", self.uri) from error

    def _key(self, path: str) -> str:
        return path[len(self._base_slash) :]

    def _below(self, prefix: str) -> str | None:
        stripped = prefix.rstrip("/")
        return ObstoreStore._path(self, stripped) if stripped else self._base or None

    def _info(self, meta: "ObjectMeta") -> ObjectInfo:
        return ObjectInfo(self._key(meta["path"]), meta["size"], meta["e_tag"], meta["last_modified"])

    def _attributes(self, attributes: ObjectAttributes | None) -> "Attributes | None":
        """Return the attributes as the driver takes them; there are few kinds, and each is made once."""
        known = self._known_attributes
        try:
            return known[attributes]
        except KeyError:
            made = known[attributes] = driver_attributes(attributes, self._traits)
            return made

    def _uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}" if key else self.uri

    def _check_range(self, key: str, byte_range: ObjectRange | None, size: int) -> None:
        """Refuse what some drivers answer with no bytes at all."""
        if byte_range is None:
            return
        start = 0 if isinstance(byte_range, SuffixRange) else byte_range.start
        if start >= size or is_empty(byte_range):
            raise unsatisfiable(self._uri_of(key))

    @contextmanager
    def _reading(self, key: str, byte_range: ObjectRange | None) -> Iterator[None]:
        """Translate errors; some drivers do not tell that it was the range that they refused, so look."""
        if byte_range is not None and is_empty(byte_range):
            raise unsatisfiable(self._uri_of(key))
        try:
            with self._errors(key, "read"):
                yield
        except StoreIoError:
            if byte_range is not None:
                self._check_range(key, byte_range, self.head(key).size)
            raise

    @contextmanager
    def _errors(self, key: str, action: Action) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except DRIVER_ERRORS as error:
            raise translate(error, self._uri_of(key), action) from error
