"""Sending a whole result as one archive, which is never made in advance: it is written while the files are read.

The files are read in pieces of at most `WHOLE_BYTES`, some of them ahead of the one that is being sent: over a network,
the latency of one request after the other would decide the speed otherwise. A download holds at most
``Ahead.bytes + 3 * WHOLE_BYTES`` of files (44 MiB; a piece twice while its store hands it over), four bytes a file, and
the manifest's rows, which `Results` keeps for everybody. No file stays open between two pieces.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import NamedTuple

from wildcast.contract.naming import MANIFEST_PATH, join_key
from wildcast_server.errors import NotFoundError, RangeNotSatisfiableError, StoreIoError
from wildcast_server.http.archives import WHOLE_BYTES, ArchiveFormat, Entry
from wildcast_server.store import ByteRange, ObjectInfo, ObjectStore
from wildcast_server.transfer.checksums import Crc64Nvme
from wildcast_server.usecases.results import Contents, Results

CHUNK_BYTES = 256 << 10
"""Headers and small files are sent together, this much at a time."""

READERS = 64
"""Threads that read, for all downloads together; they never wait for a client."""

WRITERS = 32
"""Threads that compose what has been read, for all downloads together; they wait for nobody but the readers."""

VERSION = 1
"""Of the bytes that an archive has: to be raised when the same result becomes other bytes."""


@dataclass(frozen=True)
class Ahead:
    """How much of one download may be read, or being read, ahead of what is sent."""

    requests: int
    bytes: int


FROM_DISK = Ahead(8, 8 << 20)
"""What is read further ahead only falls out of the processor's cache: with 32 MiB a core sends half as much."""

FROM_NETWORK = Ahead(64, 32 << 20)
"""At 30 ms a request, and 80 MB/s a connection: 2,000 small objects a second, and 400 MB/s of large ones."""


class _File(NamedTuple):
    """A file of the result."""

    path: str
    """Relative to the publication."""
    size: int
    crc64nvme: str | None
    """None if nobody knows: the manifest's own."""


class _Piece(NamedTuple):
    """Some bytes of a file: from `start` to `stop` (exclusive)."""

    key: str
    start: int
    stop: int
    size: int
    """Of the whole file."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The archive of one result, which can be sent any number of times, the same bytes each time."""

    name: str
    """Under which a client keeps it."""
    media_type: str
    size: int
    """In bytes."""
    etag: str
    """Quoted."""
    modified: datetime
    stream: Callable[[], AsyncGenerator[bytes, None]]
    """Reads the files, and yields the archive; closing it ends the reading.

    It raises `StoreIoError` where a file is lost or is not what the manifest lists, before all of that file is yielded,
    and any other `StoreError` as the store does.
    """


@dataclass(frozen=True)
class _Listing:
    """The files in the order of the archive; each iteration begins anew, and keeps nothing."""

    contents: Contents
    manifest_bytes: int

    def files(self) -> Iterator[_File]:
        for row in self.contents.manifest.rows:
            yield _File(row.path, row.size, row.crc64nvme)
        # Last, as it was published: an archive that is cut off lacks it.
        yield _File(MANIFEST_PATH, self.manifest_bytes, None)

    def __iter__(self) -> Iterator[Entry]:
        execution = self.contents.execution.id
        return (Entry(f"{execution}/{file.path}", file.size) for file in self.files())


class Archives:
    """Results as archives.

    Parameters
    ----------
    results
        Finds them.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="archive-reader")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="archive-writer")

    def archive(self, workflow_name: str, execution_id: str, form: ArchiveFormat) -> Archive:
        """Describe the archive of a result; none of its files is read for that.

        Raises
        ------
        UnknownExecutionError, NoResultsError, ServiceUnavailableError, StoreIoError
            As `Results.contents`.
        """
        contents = self._results.contents(workflow_name, execution_id)
        manifest = _look_at_manifest(contents)
        listing = _Listing(contents, manifest.size)
        modified = contents.manifest.created_at

        def stream() -> AsyncGenerator[bytes, None]:
            pieces = _ReadAhead(contents.store, self._readers, _pieces(contents.prefix, listing.files()))
            bodies = (_body(file, pieces, contents.store) for file in listing.files())
            return _in_threads(_gathered(form.stream(listing, bodies, modified)), self._writers, pieces.close)

        return Archive(
            name=f"{workflow_name}_{execution_id}.{form.suffix}",
            media_type=form.media_type,
            size=form.length(listing),
            etag=_etag(form, contents, manifest),
            modified=modified,
            stream=stream,
        )


def _look_at_manifest(contents: Contents) -> ObjectInfo:
    try:
        return contents.store.head(join_key(contents.prefix, MANIFEST_PATH))
    except NotFoundError as error:
        raise _lost(MANIFEST_PATH, contents.store) from error


def _etag(form: ArchiveFormat, contents: Contents, manifest: ObjectInfo) -> str:
    parts = (VERSION, form.suffix, contents.execution.id, contents.prefix, manifest.etag, manifest.size)
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def _pieces(prefix: str, files: Iterable[_File]) -> Iterator[_Piece]:
    for path, size, _ in files:
        key = join_key(prefix, path)
        for start in range(0, size or 1, WHOLE_BYTES):
            yield _Piece(key, start, min(start + WHOLE_BYTES, size), size)


def _body(file: _File, pieces: "_ReadAhead", store: ObjectStore) -> Iterator[bytes]:
    """Take a file's pieces as they come; the last only when all of them are the file that was published."""
    checksum = Crc64Nvme()
    for start in range(0, file.size or 1, WHOLE_BYTES):
        piece = pieces.take()
        checksum.update(piece)
        if start + WHOLE_BYTES >= file.size and file.crc64nvme not in (None, checksum.base64()):
            raise _changed(file.path, store)
        yield piece


class _ReadAhead:
    """Reads pieces in order, several at a time."""

    def __init__(self, store: ObjectStore, readers: Executor, pieces: Iterator[_Piece]) -> None:
        self._store = store
        self._readers = readers
        self._pieces = pieces
        self._next = next(pieces, None)
        self._ahead: deque[tuple[int, Future[bytes]]] = deque()
        self._bytes = 0
        self._allowed = FROM_DISK if store.is_on_disk else FROM_NETWORK
        self._closed = Event()

    def take(self) -> bytes:
        """Wait for the next piece; it has just the bytes that it should have.

        Raises
        ------
        StoreIoError
            If its file is lost or of another size; or after `close`.
        StoreError
            If the store fails otherwise.
        """
        self._fill()
        length, future = self._ahead.popleft()
        data = future.result()
        self._bytes -= length
        return data

    def close(self) -> None:
        """Read no more; what is in flight ends by itself."""
        self._closed.set()

    def _fill(self) -> None:
        while self._next is not None and self._has_room(length := self._next.stop - self._next.start):
            self._ahead.append((length, self._readers.submit(self._read, self._next)))
            self._bytes += length
            self._next = next(self._pieces, None)

    def _has_room(self, length: int) -> bool:
        if not self._ahead:
            return True
        return len(self._ahead) < self._allowed.requests and self._bytes + length <= self._allowed.bytes

    def _read(self, piece: _Piece) -> bytes:
        if self._closed.is_set():
            raise StoreIoError("nobody waits for this archive any more")
        try:
            data = self._read_from_store(piece)
        except NotFoundError as error:
            raise _lost(piece.key, self._store) from error
        except RangeNotSatisfiableError as error:
            raise _changed(piece.key, self._store) from error
        if len(data) != piece.stop - piece.start:
            raise _changed(piece.key, self._store)
        return data

    def _read_from_store(self, piece: _Piece) -> bytes:
        if not piece.size:
            # No range of an empty object can be asked for, and whole it may be anything by now.
            return b"" if self._store.head(piece.key).size == 0 else b"?"
        # One byte more than the last shows a file that has grown.
        stop = piece.stop + 1 if piece.stop == piece.size else piece.stop
        return self._store.get(piece.key, ByteRange(piece.start, stop))


def _lost(path: str, store: ObjectStore) -> StoreIoError:
    return StoreIoError(f"{path} belongs to the result, and is not in its store any more", f"{store.uri}/{path}")


def _changed(path: str, store: ObjectStore) -> StoreIoError:
    return StoreIoError(f"{path} is not the file any more that was published", f"{store.uri}/{path}")


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join small parts to chunks of at least `CHUNK_BYTES`; what is that long goes as it is, without a copy."""
    waiting: list[bytes] = []
    length = 0
    for part in parts:
        if len(part) >= CHUNK_BYTES and waiting:
            yield b"".join(waiting)
            waiting, length = [], 0
        waiting.append(part)
        length += len(part)
        if length >= CHUNK_BYTES:
            # Of one part alone, joining makes no copy.
            yield b"".join(waiting)
            waiting, length = [], 0
    if length:
        yield b"".join(waiting)


async def _in_threads(
    source: Iterator[bytes], threads: Executor, close: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Yield what `source` does, one chunk ahead: the next is composed in a thread while one is being sent."""
    loop = asyncio.get_running_loop()
    coming = loop.run_in_executor(threads, next, source, None)
    try:
        while (chunk := await coming) is not None:
            coming = loop.run_in_executor(threads, next, source, None)
            yield chunk
    finally:
        close()
        # Nobody will wait for it. If it has failed already, look at that: asyncio would log it as overlooked.
        if not coming.cancel() and not coming.cancelled():
            coming.exception()
