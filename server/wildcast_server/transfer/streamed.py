"""What a run streams: objects that never were files here, and the ledger of what the store has acknowledged of them."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from wildcast.contract.naming import join_key
from wildcast_server.domain.sink import check_process
from wildcast_server.errors import (
    AlreadyExistsError,
    NotFoundError,
    StoreIoError,
    UnsupportedError,
    WorkflowFailedError,
)
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.store.base import ByteRange, ObjectAttributes, ObjectStore
from wildcast_server.transfer.checksums import Crc64Nvme, Md5Etag
from wildcast_server.transfer.files import StoredFile
from wildcast_server.transfer.ledger import Ledger, LedgerRow, read_ledger
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE, PARTS_IN_FLIGHT, optimal_part_size

Result = TypeVar("Result")

SLOTS = 16
"""Requests at a time, unless the settings say another number."""


@dataclass(frozen=True)
class _Need:
    """What the writing of one object takes."""

    requests: int = 1
    bytes: int = 0


@dataclass
class Sums:
    """The checksums of one object, taken as its bytes come by."""

    crc: Crc64Nvme = field(default_factory=Crc64Nvme)
    md5: Md5Etag | None = None
    size: int = 0
    """Of what was taken in, in bytes."""

    def update(self, part: bytes) -> None:
        """Take in the next part, or the whole of an object that is one request."""
        self.crc.update(part)
        self.size += len(part)
        if self.md5 is not None:
            self.md5.update(part)


class Streamed:
    """Writes, reads and deletes the objects of one publication that is being streamed; for any number of threads.

    Objects that are written whole, as chunks are, take at most `slots` requests and, by their sizes,
    ``slots * part_size`` bytes at a time, or one object alone what it needs. Large files that are written piece by
    piece share the `slots` with them; each that is open has one request at least, and so has the rest, or one would
    wait for the other for ever. What memory the files take is told in `transfer.writer`.

    Parameters
    ----------
    store
        Where to.
    prefix
        Of the publication.
    ledger
        Where to record what the store has acknowledged; what it tells already is taken for this run's own.
    slots
        Requests at a time.
    part_size
        In bytes. An object of at most this size is one request; a larger one becomes a multipart upload.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        ledger: Path,
        *,
        slots: int = SLOTS,
        part_size: int = DEFAULT_PART_SIZE,
    ) -> None:
        self.store = store
        self.part_size = part_size
        self.slots = slots
        self._prefix = prefix
        self._sizes = {row.path: row.size for row in read_ledger(ledger).values()}
        self._ledger = Ledger(ledger)
        self._bytes = slots * part_size
        self._used = _Need(0, 0)
        self._busy: set[str] = set()
        self._shared = 0
        self._changed = threading.Condition()
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="streaming")
        self._closed = False
        self._owner = os.getpid()

    def __repr__(self) -> str:
        return f"Streamed({self.key('')!r} in {self.store.uri!r}, {len(self._sizes)} objects)"

    @property
    def prefix(self) -> str:
        """Of the publication."""
        return self._prefix

    def key(self, path: str) -> str:
        """Return the key of the object at `path`."""
        return join_key(self._prefix, path)

    def submit(self, work: Callable[..., Result], *args: Any) -> "Future[Result]":
        """Do work in one of as many threads as there may be requests, for who must not block.

        Raises
        ------
        RuntimeError
            If the run has ended, or in a process that was forked from this one.
        """
        check_process(self._owner)
        if self._closed:
            raise RuntimeError("the run has ended: nothing can be streamed any more")
        return self._threads.submit(work, *args)

    def size(self, path: str) -> int | None:
        """Return the size of an object in bytes, or None if there is none."""
        return self._sizes.get(path)

    def below(self, prefix: str) -> list[str]:
        """Return the paths of all objects that begin with `prefix`."""
        return [path for path in list(self._sizes) if path.startswith(prefix)]

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Return the bytes of an object from `start` to `stop` (exclusive), which lie inside it.

        Raises
        ------
        StoreError
            If the store cannot be read, or has lost the object: that is never taken for one that was not written.
        """
        if start >= stop:
            return b""
        try:
            return self.store.get(self.key(path), ByteRange(start, stop))
        except NotFoundError as error:
            raise StoreIoError(f"{error.uri} was written by this run and is not there any more", error.uri) from error

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object whole, in one request or in parts; it is recorded once the store has acknowledged it.

        Raises
        ------
        StoreError
            If the store refuses it; `AlreadyExistsError` if there is one, with `if_absent`.
        """
        sums, is_multipart = self.sums(), len(data) > self.part_size
        with self._alone(path), self._within(self._need(len(data))) as taken:
            if is_multipart:
                size = optimal_part_size(len(data), self.part_size)
                parts = _summed(data, size, sums)
                etag = self.put_parts(
                    path, parts, part_size=size, concurrency=taken.requests, if_absent=if_absent, size=len(data)
                )
            else:
                sums.update(data)
                write = self._create if if_absent else self.store.put
                etag = write(self.key(path), data, _attributes(path))
            self.record(path, sums, etag, is_multipart=is_multipart)

    def put_parts(
        self,
        path: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        if_absent: bool,
        size: int | None = None,
    ) -> str | None:
        """Write an object as `ObjectStore.put_parts` does; return its ETag. Nothing is recorded yet.

        A store that cannot create a large object only if there is none is asked beforehand whether there is one: below
        this prefix nobody else writes.
        """
        send = partial(
            self.store.put_parts,
            self.key(path),
            parts,
            part_size=part_size,
            concurrency=concurrency,
            attributes=_attributes(path),
            size=size,
        )
        if not if_absent:
            return send()
        try:
            return send(if_absent=True)
        except UnsupportedError:
            self._check_absent(self.key(path))
            return send()

    def record(self, path: str, sums: Sums, etag: str | None, *, is_multipart: bool) -> None:
        """Record an object that the store has acknowledged.

        Raises
        ------
        OSError
            If the ledger cannot be written.
        """
        stored = StoredFile(
            path=path,
            key=self.key(path),
            size=sums.size,
            crc64nvme=sums.crc.base64(),
            etag=etag,
            expected_etag=sums.md5.etag(multipart=is_multipart) if sums.md5 else None,
            is_multipart=is_multipart,
            content_type=content_type(path),
        )
        self._ledger.add(LedgerRow.of(stored))
        self._sizes[path] = sums.size

    def delete(self, path: str) -> None:
        """Remove an object, if there is one; raises `StoreError` if the store does not."""
        with self._alone(path):
            if path not in self._sizes:
                return
            with self._within(_Need()):
                self.store.delete(self.key(path))
            self._ledger.add(LedgerRow.gone(path))
            del self._sizes[path]

    def sums(self) -> Sums:
        """Return checksums to begin with: those that the store's verification will need."""
        return Sums(md5=Md5Etag() if self._wants_md5 else None)

    @contextmanager
    def share(self, part_size: int) -> Iterator[int]:
        """Give a file that is written in parts how many may travel at a time: half of what is free, and at least one.

        Nobody waits for a share, or a workflow that writes several files in turn could wait for itself.
        """
        with self._changed:
            fitting = min((self.slots - self._shared) // 2, self.slots * self.part_size // part_size)
            share = max(1, min(PARTS_IN_FLIGHT, fitting))
            self._shared += share
        try:
            yield share
        finally:
            with self._changed:
                self._shared -= share
                self._changed.notify_all()

    def close(self) -> None:
        """Wait for the requests in flight, and end. Idempotent."""
        self._closed = True
        self._threads.shutdown(cancel_futures=True)
        self._ledger.close()

    def recorded(self) -> dict[str, LedgerRow]:
        """Return what the ledger on disk tells whoever publishes, when all has ended.

        Raises
        ------
        WorkflowFailedError
            If it does not tell of all that was streamed: it was lost meanwhile.
        """
        rows = read_ledger(self._ledger.path)
        if {row.path: row.size for row in rows.values()} != self._sizes:
            raise WorkflowFailedError(
                f"the ledger {self._ledger.path} was changed by somebody else while the workflow streamed, "
                "so what it wrote cannot be published; run it again"
            )
        return rows

    @cached_property
    def _wants_md5(self) -> bool:
        return self.store.etags_are_md5 and not self.store.checks_crc64nvme

    def _need(self, size: int) -> _Need:
        if size <= self.part_size:
            return _Need(1, size)
        part = optimal_part_size(size, self.part_size)
        requests = min(PARTS_IN_FLIGHT, self.slots, -(-size // part))
        # The object itself, and the parts that are cut from it.
        return _Need(requests, size + (requests + 1) * part)

    def _check_absent(self, key: str) -> None:
        try:
            self.store.head(key)
        except NotFoundError:
            return
        uri = f"{self.store.uri}/{key}"
        raise AlreadyExistsError(f"{uri} exists already", uri)

    def _create(self, key: str, data: bytes, attributes: ObjectAttributes) -> str | None:
        try:
            return self.store.put_if_absent(key, data, attributes)
        except AlreadyExistsError:
            # Ours, if the store's first answer was lost and the request repeated.
            if self.store.get(key) != data:
                raise
            return self.store.head(key).etag

    @contextmanager
    def _alone(self, path: str) -> Iterator[None]:
        """Wait until nobody else changes this object: the last record must be of the last write."""
        with self._changed:
            self._changed.wait_for(lambda: path not in self._busy)
            self._busy.add(path)
        try:
            yield
        finally:
            with self._changed:
                self._busy.remove(path)
                self._changed.notify_all()

    @contextmanager
    def _within(self, need: _Need) -> Iterator[_Need]:
        """Wait until there is room; who needs more than there is gets all of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(self._clipped(need)))
            taken = self._clipped(need)
            self._used = _Need(self._used.requests + taken.requests, self._used.bytes + taken.bytes)
        try:
            yield taken
        finally:
            with self._changed:
                self._used = _Need(self._used.requests - taken.requests, self._used.bytes - taken.bytes)
                self._changed.notify_all()

    def _clipped(self, need: _Need) -> _Need:
        return _Need(min(need.requests, self._requests), min(need.bytes, self._bytes))

    def _fits(self, need: _Need) -> bool:
        used = self._used
        return used.requests + need.requests <= self._requests and used.bytes + need.bytes <= self._bytes

    @property
    def _requests(self) -> int:
        # One at least, or a workflow whose open files have all of them would wait for itself.
        return max(1, self.slots - self._shared)


def _attributes(path: str) -> ObjectAttributes:
    return ObjectAttributes(content_type=content_type(path), cache_control=cache_control(path))


def _summed(data: bytes, size: int, sums: Sums) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        part = data[start : start + size]
        sums.update(part)
        yield part
