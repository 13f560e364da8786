"""Objects read into, and written from, buffers that a caller owns, while the caller does something else."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Self

from wildcast.contract.naming import InvalidPathError, check_key
from wildcast_server.errors import (
    InvalidKeyError,
    NotFoundError,
    RangeNotSatisfiableError,
    StoreIoError,
    UnsupportedError,
)
from wildcast_server.store._blob_handle import BlobHandle
from wildcast_server.store._buffers import flat_view
from wildcast_server.store.base import ObjectStore
from wildcast_server.store.opening import open_store
from wildcast_server.store.options import StoreOptions

if TYPE_CHECKING:
    from typing_extensions import Buffer

THREADS = 8
"""How many requests are under way at a time, unless told otherwise."""

PART_SIZE = 8 << 20
"""Bytes that one request moves at most, unless told otherwise."""

PARTS_AT_A_TIME = 4
"""Parts of one object that are written at the same time."""

_SMALLEST_PART = 5 << 20
_MOST_PARTS = 10_000
"""Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""

Blob = str | int
"""An object: its key, or the id under which its key was registered."""


@dataclass(frozen=True, eq=False)
class BlobTransfer:
    """Bytes of one object, and the place in memory that they go to or come from."""

    blob: Blob
    buffer: "Buffer" = field(repr=False)
    """Anything with a contiguous buffer: a NumPy array, a memoryview, a bytearray; writable if it is read into."""
    offset: int = 0
    """Where the bytes begin in the object; a write has none but 0."""
    length: int | None = None
    """How many they are; None means up to the buffer's end."""
    buffer_offset: int = 0
    """Where they begin in the buffer, in bytes."""


class Blobs:
    """Reads and writes objects of a store from and into a caller's memory, in threads of its own.

    In memory, besides the caller's buffers, are at most ``threads`` MiB while reading, and while writing
    ``threads * (PARTS_AT_A_TIME + 1) * part_size`` bytes. It may be used from several threads. It is a context manager
    that closes itself.

    Parameters
    ----------
    store
        Where the objects are.
    threads
        How many requests are under way at a time; the others wait.
    part_size
        Bytes above which an object is read in parallel ranges, and written in parallel parts (of at least 5 MiB).
    """

    def __init__(self, store: ObjectStore, *, threads: int = THREADS, part_size: int = PART_SIZE) -> None:
        if threads < 1 or part_size < 1:
            raise ValueError("threads and part_size must be at least 1")
        self.store = store
        self._part_size = part_size
        self._keys: dict[int, str] = {}
        self._lock = Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="blobs")

    @classmethod
    def open(
        cls,
        uri: str,
        options: StoreOptions | None = None,
        *,
        threads: int = THREADS,
        part_size: int = PART_SIZE,
    ) -> Self:
        """Open the store at `uri`, as `open_store` does."""
        return cls(open_store(uri, options), threads=threads, part_size=part_size)

    def __repr__(self) -> str:
        return f"Blobs({self.store.uri!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def register(self, blob_id: int, key: str | None = None) -> str:
        """Let `blob_id` stand for `key`, by default for the id in decimal; return the key.

        Raises
        ------
        InvalidKeyError
            If that is no key, or the id stands for another.
        """
        checked = self._check(str(blob_id) if key is None else key)
        with self._lock:
            if self._keys.setdefault(blob_id, checked) != checked:
                raise InvalidKeyError(f"blob {blob_id} is registered for another key already", self.store.uri)
        return checked

    def deregister(self, blob_id: int) -> None:
        """Forget an id; what is under way goes on. No error if it is not registered."""
        with self._lock:
            self._keys.pop(blob_id, None)

    def exists(self, blobs: Iterable[Blob]) -> list[bool]:
        """Say of each whether there is such an object; raises what is not an answer to that."""
        self._check_open()
        return list(self._pool.map(self._exists, [self._key(blob) for blob in blobs]))

    def size(self, blob: Blob) -> int:
        """Return an object's length in bytes; `NotFoundError` if there is none."""
        return self.store.head(self._key(blob)).size

    def read(
        self,
        blob: Blob,
        buffer: "Buffer",
        *,
        offset: int = 0,
        length: int | None = None,
        buffer_offset: int = 0,
    ) -> BlobHandle:
        """Begin to read from an object into a buffer; as `read_many` with one transfer."""
        return self.read_many([BlobTransfer(blob, buffer, offset, length, buffer_offset)])

    def write(
        self,
        blob: Blob,
        buffer: "Buffer",
        *,
        offset: int = 0,
        length: int | None = None,
        buffer_offset: int = 0,
    ) -> BlobHandle:
        """Begin to write an object from a buffer; as `write_many` with one transfer."""
        return self.write_many([BlobTransfer(blob, buffer, offset, length, buffer_offset)])

    def read_many(self, transfers: Iterable[BlobTransfer]) -> BlobHandle:
        """Begin to read from objects into buffers; return one handle for all.

        A transfer is done only if all its bytes have come, and all from the same version of the object.

        Raises
        ------
        UnsupportedError
            If a buffer is read-only, or not contiguous.
        InvalidKeyError
            If an id is not registered, or a key is none.
        ValueError
            If the bytes would not fit their buffer, or the `Blobs` were closed.

        Through the handle come `NotFoundError`, `RangeNotSatisfiableError` for an offset behind the object's end,
        `StoreIoError` for an object that ends too early or was replaced meanwhile, and what else a store raises.
        """
        reads = [
            _Read(self.store, self._key(each.blob), self._view(each, writable=True), each.offset) for each in transfers
        ]
        pieces = [piece for read in reads for piece in read.pieces(self._part_size)]
        views = [read.view for read in reads] + [piece.view for piece in pieces]

        def finish() -> None:
            for read in reads:
                read.finish()

        return self._begin(views, pieces, finish)

    def write_many(self, transfers: Iterable[BlobTransfer]) -> BlobHandle:
        """Begin to write objects from buffers, each as a whole; return one handle for all.

        A buffer must not change before the handle is done. It is copied a part at a time, so that a repeated request
        sends what the first one sent.

        Raises
        ------
        UnsupportedError
            If a transfer has an offset in the object, or a buffer is not contiguous.
        InvalidKeyError, ValueError
            As `read_many`.
        """
        given = list(transfers)
        for each in given:
            if each.offset:
                uri = f"{self.store.uri}/{self._key(each.blob)}"
                raise UnsupportedError(f"{uri} cannot be written from byte {each.offset} on: write all of it", uri)
        writes = [_Write(self.store, self._key(each.blob), self._view(each), self._part_size) for each in given]
        return self._begin([write.view for write in writes], writes, _nothing)

    def _begin(
        self,
        views: Sequence[memoryview],
        pieces: Sequence[Callable[[], None]],
        finish: Callable[[], None],
    ) -> BlobHandle:
        handle = BlobHandle(views, max(len(pieces), 1), self.store.uri, finish)
        with self._lock:
            # Within the lock, so that closing cannot leave a handle half begun.
            self._refuse_if_closed()
            for piece in pieces or [_nothing]:
                self._pool.submit(handle.run, piece)
        return handle

    def _check_open(self) -> None:
        with self._lock:
            self._refuse_if_closed()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ValueError(f"{self!r} is closed")

    def _exists(self, key: str) -> bool:
        try:
            self.store.head(key)
        except NotFoundError:
            return False
        return True

    def _key(self, blob: Blob) -> str:
        if isinstance(blob, str):
            return self._check(blob)
        with self._lock:
            key = self._keys.get(blob)
        if key is None:
            raise InvalidKeyError(f"blob {blob} is not registered: register it, or name its key", self.store.uri)
        return key

    def _check(self, key: str) -> str:
        try:
            return check_key(key)
        except InvalidPathError as error:
            raise InvalidKeyError(f"not a key that {self.store.uri} can hold: {error}", self.store.uri) from error

    def _view(self, transfer: BlobTransfer, *, writable: bool = False) -> memoryview:
        """Return the bytes of the buffer that a transfer is about."""
        flat = flat_view(transfer.buffer, f"{self.store.uri}/{self._key(transfer.blob)}", writable=writable)
        room = len(flat) - transfer.buffer_offset
        length = room if transfer.length is None else transfer.length
        if min(transfer.offset, transfer.buffer_offset, length) < 0 or length > room:
            raise ValueError(
                f"{length} bytes at {transfer.buffer_offset} are not within a buffer of {len(flat)} bytes",
            )
        return flat[transfer.buffer_offset : transfer.buffer_offset + length]


class _Read:
    """One transfer out of an object, in pieces."""

    def __init__(self, store: ObjectStore, key: str, view: memoryview, offset: int) -> None:
        self.store = store
        self.key = key
        self.view = view
        self.etags: list[str | None] = []
        self._offset = offset

    def pieces(self, part_size: int) -> "Iterator[_ReadPiece]":
        for start in range(0, max(len(self.view), 1), part_size):
            yield _ReadPiece(self, self.view[start : start + part_size], self._offset + start)

    def finish(self) -> None:
        """Refuse bytes of two versions of the object."""
        if len(set(self.etags)) > 1:
            uri = f"{self.store.uri}/{self.key}"
            raise StoreIoError(f"{uri} was replaced while it was read; read it again", uri)


@dataclass(frozen=True)
class _ReadPiece:
    """One range of an object."""

    read: _Read
    view: memoryview
    start: int

    def __call__(self) -> None:
        read = self.read
        if len(self.view):
            read.etags.append(read.store.read_into(read.key, self.view, self.start))
        elif self.start > read.store.head(read.key).size:
            uri = f"{read.store.uri}/{read.key}"
            raise RangeNotSatisfiableError(f"byte {self.start} is behind the end of {uri}", uri)


@dataclass(frozen=True)
class _Write:
    """One transfer into an object."""

    store: ObjectStore
    key: str
    view: memoryview
    part_size: int

    def __call__(self) -> None:
        size = max(self.part_size, _SMALLEST_PART, -(-len(self.view) // _MOST_PARTS))
        if len(self.view) <= size:
            self.store.put(self.key, bytes(self.view))
            return
        parts = (bytes(self.view[start : start + size]) for start in range(0, len(self.view), size))
        self.store.put_parts(self.key, parts, part_size=size, concurrency=PARTS_AT_A_TIME)


def _nothing() -> None:
    """Be the work of a request that has none."""
