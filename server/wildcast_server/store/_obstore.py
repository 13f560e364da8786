"""Every backend over obstore: the port's methods, written once.

What differs between the backends is in `Traits`, and in the subclasses of the two that need code of their own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import obstore

from wildcast.contract.naming import InvalidPathError, check_key, join_key
from wildcast_server.errors import InvalidKeyError, NotFoundError, StoreError, StoreIoError, UnsupportedError
from wildcast_server.store._errors import DRIVER_ERRORS, Action, translate, unsatisfiable
from wildcast_server.store.base import (
    ByteRange,
    ObjectAttributes,
    ObjectInfo,
    ObjectRange,
    ObjectStore,
    ObjectStream,
    OffsetRange,
    SuffixRange,
)

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, GetResult, ObjectMeta
    from obstore.store import ObjectStore as Driver

Result = TypeVar("Result")

LIST_PAGE = 1000
"""As many as S3 lists, and deletes, in one request."""

STREAM_CHUNK = 1 << 20
"""Bytes that `stream` yields at a time, at least."""

STREAM_THREADS = 32
"""Threads that `stream` reads with; they are made as they are needed."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a backend can do, and what it adds to every object."""

    keeps_attributes: bool = True
    checks_crc64nvme: bool = False
    etags_are_md5: bool = False
    storage_class: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class ObstoreStore(ObjectStore):
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
    """

    def __init__(self, uri: str, driver: "Driver", base: str = "", traits: Traits | None = None) -> None:
        self.uri = uri
        self._driver = driver
        self._base = base
        self._traits = traits or Traits()
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
        result = self._request(key, byte_range)
        with self._errors(key, "read"):
            return bytes(result.bytes())

    async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
        result = await self._in_thread(lambda: self._request(key, byte_range))
        start, stop = result.range
        attributes = ObjectAttributes(
            content_type=result.attributes.get("Content-Type"),
            cache_control=result.attributes.get("Cache-Control"),
        )
        return ObjectStream(self._info(result.meta), attributes, start, stop, self._chunks(key, result))

    def _request(self, key: str, byte_range: ObjectRange | None) -> "GetResult":
        path = self._path(key)
        with self._reading(key, byte_range):
            result = obstore.get(self._driver, path, options=_options(byte_range))
            self._check_range(key, byte_range, result.meta["size"])
            return result

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
        with self._errors(key, "written"):
            return obstore.put(
                self._writer(),
                path,
                data,
                use_multipart=False,
                attributes=self._attributes(attributes),
                tags=self._traits.tags or None,
            )["e_tag"]

    def put_if_absent(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        path = self._path(key)
        with self._errors(key, "written"):
            return obstore.put(
                self._writer(),
                path,
                data,
                mode="create",
                attributes=self._attributes(attributes),
                tags=self._traits.tags or None,
            )["e_tag"]

    def put_parts(
        self,
        key: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None = None,
        if_absent: bool = False,
    ) -> str | None:
        path = self._path(key)
        if if_absent:
            raise UnsupportedError(f"{self.uri} cannot create a large object only if there is none", self._uri_of(key))
        source = _Parts(parts)
        with self._errors(key, "written", source):
            return obstore.put(
                self._writer(),
                path,
                iter(source),
                chunk_size=part_size,
                max_concurrency=concurrency,
                attributes=self._attributes(attributes),
                tags=self._traits.tags or None,
            )["e_tag"]

    def head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        with self._errors(key, "read"):
            return self._info(obstore.head(self._driver, path))

    def full_checksum(self, key: str) -> str | None:
        self._path(key)
        return None

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        path = self._below(prefix)
        offset = None if after is None else self._path(after)
        try:
            with self._errors(prefix, "listed"):
                for page in obstore.list(self._driver, path, offset=offset, chunk_size=LIST_PAGE):
                    yield from map(self._info, page)
        except NotFoundError:
            # Below a file there is nothing, but only stores of files have to say so.
            return

    def delete(self, key: str) -> None:
        self._delete_one(self._path(key), key)

    def _delete_one(self, path: str, key: str) -> None:
        try:
            with self._errors(key, "deleted"):
                obstore.delete(self._driver, path)
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
        try:
            with self._errors(keys[0], "deleted"):
                obstore.delete(self._driver, paths)
        except FileNotFoundError:
            # Somebody else removed one of them; the rest may still be there.
            for path, key in zip(paths, keys, strict=True):
                self._delete_one(path, key)

    def _writer(self) -> "Driver":
        return self._driver

    def _path(self, key: str) -> str:
        """Check a key, and return it as the driver knows it."""
        try:
            return check_key(join_key(self._base, check_key(key)))
        except InvalidPathError as error:
            raise InvalidKeyError(f"not a key that {self.uri} can hold: {error}", self.uri) from error

    def _below(self, prefix: str) -> str | None:
        stripped = prefix.rstrip("/")
        return ObstoreStore._path(self, stripped) if stripped else self._base or None

    def _info(self, meta: "ObjectMeta") -> ObjectInfo:
        path = meta["path"]
        key = path[len(self._base) + 1 :] if self._base else path
        return ObjectInfo(key, meta["size"], meta["e_tag"], meta["last_modified"])

    def _attributes(self, attributes: ObjectAttributes | None) -> "Attributes | None":
        if not self._traits.keeps_attributes:
            return None
        given = attributes or ObjectAttributes()
        named = {
            "Content-Type": given.content_type,
            "Cache-Control": given.cache_control,
            "Storage-Class": self._traits.storage_class,
        }
        return {name: value for name, value in named.items() if value is not None} or None

    def _uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}" if key else self.uri

    def _check_range(self, key: str, byte_range: ObjectRange | None, size: int) -> None:
        """Refuse what some drivers answer with no bytes at all."""
        if byte_range is None:
            return
        start = 0 if isinstance(byte_range, SuffixRange) else byte_range.start
        if start >= size or _is_empty(byte_range):
            raise unsatisfiable(self._uri_of(key))

    @contextmanager
    def _reading(self, key: str, byte_range: ObjectRange | None) -> Iterator[None]:
        """Translate errors; some drivers do not tell that it was the range that they refused, so look."""
        if byte_range is not None and _is_empty(byte_range):
            raise unsatisfiable(self._uri_of(key))
        try:
            with self._errors(key, "read"):
                yield
        except StoreIoError:
            if byte_range is not None:
                self._check_range(key, byte_range, self.head(key).size)
            raise

    @contextmanager
    def _errors(self, key: str, action: Action, source: "_Parts | None" = None) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except DRIVER_ERRORS as error:
            if source is not None and source.error is error:
                raise
            raise translate(error, self._uri_of(key), action) from error


class _Parts:
    """Iterates over parts, and remembers the exception that doing so raised, to tell it from the driver's."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._parts
        except BaseException as error:
            self.error = error
            raise


def _is_empty(byte_range: ObjectRange) -> bool:
    match byte_range:
        case ByteRange(start, stop):
            return start < 0 or stop <= start
        case OffsetRange(start):
            return start < 0
        case SuffixRange(length):
            return length <= 0


def _options(byte_range: ObjectRange | None) -> "GetOptions | None":
    match byte_range:
        case None:
            return None
        case ByteRange(start, stop):
            return {"range": (start, stop)}
        case OffsetRange(start):
            return {"range": {"offset": start}}
        case SuffixRange(length):
            return {"range": {"suffix": length}}
