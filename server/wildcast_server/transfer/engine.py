"""Move files from disk into a store: read once, checksum on the way, put."""

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event, Lock
from typing import Literal, NamedTuple

from wildcast_server.errors import StoreError, UploadFailedError
from wildcast_server.failpoints import VARIABLE, reached
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.store.base import Later, ObjectAttributes, ObjectStore
from wildcast_server.store.checksums import crc64nvme_of
from wildcast_server.store.retry import RetryPolicy
from wildcast_server.transfer.auto import MOST, AutoLimit
from wildcast_server.transfer.budget import Budget, Cost, Grant
from wildcast_server.transfer.checksums import Crc64Nvme, Md5Etag
from wildcast_server.transfer.files import (
    LocalFile,
    ProgressCallback,
    StoredCallback,
    StoredFile,
    TransferProgress,
)
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE, MIB, PARTS_IN_FLIGHT, optimal_part_size
from wildcast_server.transfer.pool import STARTED, End, Started, for_each_granted
from wildcast_server.transfer.reading import open_unchanged, read_unchanged

MEMORY = 256 * MIB
"""Bytes of all files together that are held in memory, at most, as long as three parts fit into them."""

RETRY_DEADLINE = 180.0
"""For how long a multipart upload is begun again after an outage, in seconds."""

_PARTS_AHEAD = 2
"""Parts of one file that are read and wait, or are being read (`ObjectStore.put_parts`)."""

_TELL_EVERY = 0.05
"""Seconds between two calls of a progress callback."""


class Transfer:
    """Uploads files to a store.

    At most ``n = max_concurrency`` requests are in flight at any time, over all files and parts of all calls together;
    with ``auto`` at most 256, of which as many are used as prove useful (`AutoLimit`). The file bytes held in memory,
    over all files and calls together, are at most ``max(min((n + 2) * part_size, 256 MiB), 3 * p)``, where ``p`` is the
    part size of the largest file: `part_size` up to 9,000 parts, a nine-thousandth of the file beyond.

    Parameters
    ----------
    store
        Where to.
    max_concurrency
        Requests at a time, or ``auto``.
    part_size
        In bytes. A file of at most this size is one request; a larger one becomes a multipart upload.
    retry
        How a multipart upload that met an outage is repeated as a whole; single requests are the store's matter.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        max_concurrency: int | Literal["auto"] = "auto",
        part_size: int = DEFAULT_PART_SIZE,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.store = store
        self.part_size = part_size
        self.retry = retry or RetryPolicy(RETRY_DEADLINE)
        most = MOST if max_concurrency == "auto" else max_concurrency
        limit = AutoLimit(slow_downs=lambda: store.slow_downs) if max_concurrency == "auto" else max_concurrency
        self.budget = Budget(limit, max(min((most + _PARTS_AHEAD) * part_size, MEMORY), 3 * part_size))
        self.at_most: int | None = None
        """Requests that one call may have in flight, where that is fewer."""

    def gently(self, at_most: int) -> "Transfer":
        """Return one that shares this one's bounds, and has no more than so many requests in flight in each call."""
        gentle = copy.copy(self)
        gentle.at_most = at_most
        return gentle

    def expect(self, round_trip: float) -> None:
        """Take in how many seconds a small request to the store took, so that `auto` begins with a number that fits."""
        with self.budget.lock:
            self.budget.limiter.expect(round_trip)

    def upload(
        self,
        files: Sequence[LocalFile],
        prefix: str,
        on_progress: ProgressCallback | None = None,
        *,
        on_stored: StoredCallback | None = None,
    ) -> list[StoredFile]:
        """Write every file to ``<prefix>/<path>``, and return what was written in the order of `files`.

        The first failure stops new work. Requests that are in flight are waited for, never cancelled; multipart
        uploads that have not ended are aborted.

        Parameters
        ----------
        files
            As a scan found them.
        prefix
            Of the publication.
        on_progress
            Told how far the upload is.
        on_stored
            Told of each file that the store has acknowledged.

        Raises
        ------
        UploadFailedError
            If the store refused one; the sentence names the file and the store's reason.
        FileChangedError
            If one was written since it was scanned. No object is left of a torn read.
        UnpublishableFileError
            If one cannot be read.
        """
        tally = None if on_progress is None or not files else _Tally(files, on_progress)
        upload = _Upload(self, prefix, tally, on_stored)
        # Many files have the same size.
        known = {size: self._cost(size) for size in {file.size for file in files}}
        costs = [known[file.size] for file in files]
        stored = for_each_granted(
            upload.file,
            files,
            self.budget,
            costs,
            stop=upload.stop,
            observed=True,
            conclude=upload.conclude if upload.begins else None,
            most=self.at_most,
        )
        if tally:
            tally.end()
        return stored

    def _cost(self, size: int) -> Cost:
        if size <= self.part_size:
            return Cost(1, size)
        part = optimal_part_size(size, self.part_size)
        return Cost(min(PARTS_IN_FLIGHT, -(-size // part)), part, _PARTS_AHEAD * part, size)


class _Stopped(Exception):  # noqa: N818 - no error: it aborts a multipart upload after another file's failure
    pass


class _Tally:
    """Counts what is done, and tells, now and then."""

    def __init__(self, files: Sequence[LocalFile], on_progress: ProgressCallback) -> None:
        self._on_progress = on_progress
        self._files_total = len(files)
        self._bytes_total = sum(file.size for file in files)
        self._files_done = self._bytes_done = 0
        self._began = time.monotonic()
        self._told = self._began - _TELL_EVERY
        self._counting, self._telling = Lock(), Lock()

    def add(self, *, files: int = 0, size: int = 0) -> None:
        with self._counting:
            self._files_done += files
            self._bytes_done += size
        # Whoever finds another thread telling has nothing to add.
        if time.monotonic() - self._told >= _TELL_EVERY and self._telling.acquire(blocking=False):
            try:
                self._tell()
            finally:
                self._telling.release()

    def end(self) -> None:
        """Tell the last state."""
        with self._telling:
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        self._on_progress(
            TransferProgress(
                files_done=self._files_done,
                files_total=self._files_total,
                bytes_done=self._bytes_done,
                bytes_total=self._bytes_total,
                seconds=now - self._began,
            )
        )
        # Counted from its end, so that one who is slow is not called for each file.
        self._told = time.monotonic()


class _Sending(NamedTuple):
    """What is known of a small file before the store has acknowledged it."""

    key: str
    crc64nvme: str
    expected_etag: str | None
    content_type: str


class _Upload:
    """One call of `Transfer.upload`."""

    def __init__(self, transfer: Transfer, prefix: str, tally: _Tally | None, on_stored: StoredCallback | None) -> None:
        self._transfer = transfer
        self._store = transfer.store
        self._start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._tally = tally
        self._on_stored = on_stored
        self.begins = self._store.begins_puts
        self._wants_md5 = self._store.etags_are_md5 and not self._store.checks_crc64nvme
        self._attributes: dict[tuple[str, str], ObjectAttributes] = {}
        # Looked up once: tests alone arm a place.
        self._reached: Callable[[str], None] | None = reached if VARIABLE in os.environ else None
        self.stop = Event()

    def file(self, file: LocalFile, grant: Grant, end: End, later: Later) -> StoredFile | Started:
        """Read and write one file, or begin to write it."""
        path = file.path
        key = self._start + path
        kind = content_type(path)
        described = kind, cache_control(path)
        attributes = self._attributes.get(described)
        if attributes is None:
            attributes = self._attributes.setdefault(described, ObjectAttributes(*described))
        is_multipart = file.size > self._transfer.part_size
        try:
            if is_multipart:
                crc, etag, expected = self._put_parts(file, key, attributes, grant.slots)
            else:
                data, crc, expected = self._read(file)
                if self.begins:
                    begun = _Sending(key, crc, expected, kind)
                    self._store.begin_put(key, data, attributes, partial(end, begun), later)
                    return STARTED
                etag = self._store.put(key, data, attributes)
        except StoreError as error:
            raise _failed(file, error) from error
        return self._stored(file, StoredFile(path, key, file.size, crc, etag, expected, is_multipart, kind))

    def conclude(self, file: LocalFile, begun: "_Sending", etag: str | None, error: BaseException | None) -> StoredFile:
        """Take in the end of what `file` began."""
        if isinstance(error, StoreError):
            raise _failed(file, error) from error
        if error is not None:
            raise error
        key, crc, expected, kind = begun
        stored = StoredFile(file.path, key, file.size, crc, etag, expected, is_multipart=False, content_type=kind)
        return self._stored(file, stored)

    def _read(self, file: LocalFile) -> tuple[bytes, str, str | None]:
        """Return the bytes of a small file, their checksum, and the ETag that they are to have."""
        data = read_unchanged(file)
        crc = crc64nvme_of(data)
        expected = None
        if self._wants_md5:
            md5 = Md5Etag()
            md5.update(data)
            expected = md5.etag(multipart=False)
        if self._reached:
            self._reached("upload.read")
        return data, crc, expected

    def _stored(self, file: LocalFile, stored: StoredFile) -> StoredFile:
        """Take in that the store has acknowledged a file."""
        if self._reached:
            self._reached("upload.stored")
        if self._on_stored:
            self._on_stored(file, stored)
        if self._tally:
            self._tally.add(files=1, size=0 if stored.is_multipart else file.size)
        return stored

    def _put_parts(
        self, file: LocalFile, key: str, attributes: ObjectAttributes, slots: int
    ) -> tuple[str, str | None, str | None]:
        upload = _PartedUpload(file, slots, optimal_part_size(file.size, self._transfer.part_size), self)
        etag = self._transfer.retry.call(
            lambda: upload.attempt(self._store, key, attributes, wants_md5=self._wants_md5),
            lambda _error, _began: not self.stop.is_set(),
        )
        return upload.crc.base64(), etag, upload.md5.etag(multipart=True) if upload.md5 else None

    def passed(self, size: int) -> None:
        """Take in that the store has so many more bytes of a multipart upload."""
        if self._tally:
            self._tally.add(size=size)

    def part_sent(self) -> None:
        """Take in that the store asks for the next part."""
        if self._reached:
            self._reached("upload.part")


def _failed(file: LocalFile, error: StoreError) -> UploadFailedError:
    return UploadFailedError(f"{file.path} could not be uploaded: {error}")


class _PartedUpload:
    """One file that goes up in parts, from its beginning once more if an outage ends it."""

    def __init__(self, file: LocalFile, slots: int, part_size: int, upload: _Upload) -> None:
        self._file, self._slots, self._part_size = file, slots, part_size
        self._upload = upload
        self._counted = 0
        self.crc = Crc64Nvme()
        self.md5: Md5Etag | None = None

    def attempt(self, store: ObjectStore, key: str, attributes: ObjectAttributes, *, wants_md5: bool) -> str | None:
        """Send the whole file; return the object's ETag."""
        self.crc = Crc64Nvme()
        self.md5 = Md5Etag() if wants_md5 else None
        etag = store.put_parts(
            key,
            self._parts(),
            part_size=self._part_size,
            concurrency=self._slots,
            attributes=attributes,
            size=self._file.size,
        )
        self._count(self._file.size)
        return etag

    def _parts(self) -> Iterator[bytes]:
        # What has not been acknowledged yet when the next part is asked for, at most.
        on_the_way = (self._slots + 1) * self._part_size
        read = 0
        with open_unchanged(self._file) as opened:
            for part in opened.pieces(self._part_size):
                if self._upload.stop.is_set():
                    raise _Stopped
                self.crc.update(part)
                if self.md5:
                    self.md5.update(part)
                read += len(part)
                yield part
                self._upload.part_sent()
                self._count(read - on_the_way)

    def _count(self, acknowledged: int) -> None:
        """Count bytes once, also those that are sent again."""
        if acknowledged > self._counted:
            self._upload.passed(acknowledged - self._counted)
            self._counted = acknowledged
