"""The port of object stores: what every backend can do, whatever it is made of.

Keys are relative to the store's URI. Methods block and are called from threads; `stream` alone is asynchronous,
because the HTTP faces send what it yields.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wildcast_server.errors import StoreIoError


@dataclass(frozen=True)
class ByteRange:
    """The bytes from `start` (inclusive) to `stop` (exclusive); a `stop` behind the end is cut off there."""

    start: int
    stop: int


@dataclass(frozen=True)
class OffsetRange:
    """The bytes from `start` (inclusive) to the end."""

    start: int


@dataclass(frozen=True)
class SuffixRange:
    """The last `length` bytes, or all where there are fewer."""

    length: int


ObjectRange = ByteRange | OffsetRange | SuffixRange


@dataclass(frozen=True)
class ObjectAttributes:
    """What is stored along with an object; stores that keep none (`file://`) ignore it."""

    content_type: str | None = None
    cache_control: str | None = None


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows of an object."""

    key: str
    size: int
    """In bytes."""
    etag: str | None
    """As the store gave it, quotes included."""
    last_modified: datetime


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    id: str
    """As the store named it."""
    initiated: datetime | None


@dataclass(frozen=True)
class ObjectStream:
    """An object, or a range of one, being read."""

    info: ObjectInfo
    attributes: ObjectAttributes
    start: int
    """Of the first byte that `chunks` yields."""
    stop: int
    """Behind the last byte that `chunks` yields."""
    chunks: AsyncIterator[bytes]
    """To be read to its end, or ended by its `aclose`: until then a file or a connection may be open."""


PutEnded = Callable[[str | None, BaseException | None], None]
"""Takes in the ETag of an object that was written, or why it was not."""

Call = tuple[Callable[..., object], tuple[Any, ...]]
"""What is to be called, and with what."""

Later = Callable[[Call], None]
"""Leaves a call to whoever has begun something; it is called in any thread."""


def too_short(uri: str, size: int, needed: int) -> StoreIoError:
    """Return the error of an object that ends, after `size` bytes, before a reader has what it asked for."""
    return StoreIoError(f"{uri} has only {size:,} of the {needed:,} bytes up to which it was to be read", uri)


class ObjectStore(ABC):
    """A flat space of objects below one URI.

    Every method raises a subclass of `StoreError`, with the object's URI: `NoSuchBucketError`, `AccessDeniedError`,
    `NetworkError`, `InvalidKeyError`, and what its own docstring adds. What may pass (`NetworkError`,
    `CredentialsExpiredError`) was tried again for the time that the options allow; a multipart upload as a whole was
    not, because its bytes would have to be read anew.
    """

    uri: str
    """Where the keys hang, without a trailing slash: ``s3://bucket/base``."""

    @property
    @abstractmethod
    def checks_crc64nvme(self) -> bool:
        """Whether this store is known to refuse bytes that differ from the CRC64NVME sent along with them."""

    @property
    def etags_are_md5(self) -> bool:
        """Whether an ETag is, as far as one can tell beforehand, the MD5 of the bytes.

        In hexadecimal and quotes; of a multipart upload it is the MD5 of the parts' MD5s, a hyphen, and their number
        (Amazon S3 User Guide, "Checking object integrity"). A bucket that encrypts with KMS by default breaks the rule.
        """
        return False

    @property
    def slow_downs(self) -> int:
        """How often, since it was opened, the store asked for fewer requests (503 SlowDown, 429)."""
        return 0

    @property
    def retries(self) -> int:
        """How often, since it was opened, a request was repeated after an outage, as far as that can be counted."""
        return 0

    @property
    def is_on_disk(self) -> bool:
        """Whether objects are files of this machine, which a reader waits less for than for a network."""
        return False

    @abstractmethod
    def get(self, key: str, byte_range: ObjectRange | None = None) -> bytes:
        """Read an object, or a range of it.

        Raises
        ------
        NotFoundError
            If there is none.
        RangeNotSatisfiableError
            If the range begins at or behind the object's end.
        """

    def read_into(self, key: str, buffer: memoryview, start: int = 0) -> str | None:
        """Fill `buffer`, writable bytes, with an object's bytes from `start` on; return its ETag.

        Raises
        ------
        NotFoundError
            If there is no such object.
        RangeNotSatisfiableError
            If `start` is at or behind the object's end, or the buffer is empty.
        StoreIoError
            If the object ends before the buffer does; what the buffer then holds is undefined.
        """
        data = self.get(key, ByteRange(start, start + len(buffer)))
        if len(data) != len(buffer):
            raise too_short(f"{self.uri}/{key}", start + len(data), start + len(buffer))
        buffer[:] = data
        return None

    @abstractmethod
    async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
        """Begin to read an object, or a range of it; raises as `get` does, before the first byte."""

    @abstractmethod
    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        """Write an object in one request, replacing what was there; return its ETag."""

    @property
    def begins_puts(self) -> bool:
        """Whether `begin_put` returns before the object is written, so that no thread has to wait for it."""
        return False

    def begin_put(
        self, key: str, data: bytes, attributes: ObjectAttributes | None, ended: PutEnded, later: Later
    ) -> None:
        """Do as `put` does, without waiting for it where `begins_puts` says so.

        `ended` is called once: at once, or by a call that is left to `later`, and that the caller makes. A key that
        there cannot be is refused at once, by an exception.
        """
        del later
        ended(self.put(key, data, attributes), None)

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        """Write an object in one request; return its ETag.

        Raises
        ------
        AlreadyExistsError
            If there is an object under that key, which is left as it is. It may be our own: a request whose answer was
            lost is made again, and meets what it made. Whoever must know compares the bytes.
        """

    @abstractmethod
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
        """Write an object as a multipart upload, `concurrency` parts at a time; return its ETag.

        `size`, of all parts together in bytes, helps to choose how it is sent; None if it is not known beforehand.

        Each of `parts` but the last has exactly `part_size` bytes, at least 5 MiB; there is at least one. If iterating
        raises, the upload is aborted and the exception goes on. At most ``concurrency + 1`` parts have been taken from
        `parts` and not yet been sent.

        Raises
        ------
        AlreadyExistsError
            With `if_absent`, if there is an object under that key, which is left as it is.
        UnsupportedError
            With `if_absent`, if this store cannot promise that.
        """

    def unfinished_uploads(self, prefix: str) -> "Iterator[UnfinishedUpload]":
        """All multipart uploads below `prefix` that nobody has ended; stores that clean up by themselves have none."""
        del prefix
        return iter(())

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Give back what the parts of an unfinished upload occupy; no error if there is none any more."""
        del upload

    @abstractmethod
    def head(self, key: str) -> ObjectInfo:
        """Look at an object without reading it; `NotFoundError` if there is none."""

    @abstractmethod
    def full_checksum(self, key: str) -> str | None:
        """Return the CRC64NVME (base64) that the store itself keeps of the whole object, or None if it keeps none."""

    @abstractmethod
    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """All objects below `prefix`, which ends at a slash: ``a`` finds ``a/b`` and not ``ab``.

        In no set order; with `after`, only those whose keys come behind it in byte order.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""

    @abstractmethod
    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects below `prefix`, as `list` finds them; return how many. An empty prefix is refused."""
