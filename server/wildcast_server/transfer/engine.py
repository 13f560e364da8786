"""Move files from disk into a store: read once, checksum on the way, put."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from typing import Literal

from wildcast.contract.naming import join_key
from wildcast_server.errors import StoreError, UploadFailedError
from wildcast_server.http.media_types import cache_control, content_type
from wildcast_server.store.base import ObjectAttributes, ObjectStore
from wildcast_server.transfer.checksums import Crc64Nvme, Md5Etag
from wildcast_server.transfer.files import LocalFile, ProgressCallback, StoredFile, TransferProgress
from wildcast_server.transfer.parts import DEFAULT_PART_SIZE, optimal_part_size
from wildcast_server.transfer.pool import Budget, Cost, for_each
from wildcast_server.transfer.reading import OpenFile, open_unchanged

AUTO_CONCURRENCY = 32
"""What ``auto`` means: a fixed number that is good near the store and fair far from it; nothing is measured yet."""

PARTS_IN_FLIGHT = 8
"""Parts of one file that travel at the same time, at most."""

_PARTS_AHEAD = 2
"""Parts of one file that are read and wait, or are being read (`ObjectStore.put_parts`)."""


class Transfer:
    """Uploads files to a store.

    At most `max_concurrency` requests are in flight at any time, and the file bytes held in memory, over all files
    together, are at most ``max((max_concurrency + 2) * part_size, 3 * p)``, where ``p`` is the part size of the largest
    file: `part_size` up to 9,000 parts, a nine-thousandth of the file beyond.

    Parameters
    ----------
    store
        Where to.
    max_concurrency
        Requests at a time, or ``auto``.
    part_size
        In bytes. A file of at most this size is one request; a larger one becomes a multipart upload.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        max_concurrency: int | Literal["auto"] = "auto",
        part_size: int = DEFAULT_PART_SIZE,
    ) -> None:
        self.store = store
        self.part_size = part_size
        slots = AUTO_CONCURRENCY if max_concurrency == "auto" else max_concurrency
        self.budget = Budget(slots, (slots + _PARTS_AHEAD) * part_size)

    def upload(
        self,
        files: Sequence[LocalFile],
        prefix: str,
        on_progress: ProgressCallback | None = None,
    ) -> list[StoredFile]:
        """Write every file to ``<prefix>/<path>``, and return what was written in the order of `files`.

        The first failure stops new work. Requests that are in flight are waited for, never cancelled; multipart
        uploads that have not ended are aborted.

        Raises
        ------
        UploadFailedError
            If the store refused one; the sentence names the file and the store's reason.
        FileChangedError
            If one was written since it was scanned. No object is left of a torn read.
        UnpublishableFileError
            If one cannot be read.
        """
        upload = _Upload(self, prefix, _Tally(files, on_progress))
        return for_each(upload.file, files, self.budget, cost=self._cost, stop=upload.stop)

    def parts_in_flight(self, size: int) -> int:
        """How many parts of a file of `size` bytes travel at a time, given the bounds."""
        part = optimal_part_size(size, self.part_size)
        fitting = self.budget.memory // part - _PARTS_AHEAD
        return max(1, min(PARTS_IN_FLIGHT, self.budget.slots, fitting, -(-size // part)))

    def _cost(self, file: LocalFile) -> Cost:
        if file.size <= self.part_size:
            return Cost(1, file.size)
        slots = self.parts_in_flight(file.size)
        part = optimal_part_size(file.size, self.part_size)
        return Cost(slots, min(file.size, (slots + _PARTS_AHEAD) * part))


class _Stopped(Exception):  # noqa: N818 - no error: it aborts a multipart upload after another file's failure
    pass


@dataclass
class _Tally:
    """Counts what is done, and tells."""

    files: Sequence[LocalFile]
    on_progress: ProgressCallback | None

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._bytes_total = sum(file.size for file in self.files)
        self._files_done = self._bytes_done = 0

    def add(self, *, files: int = 0, size: int = 0) -> None:
        if self.on_progress is None:
            return
        with self._lock:
            self._files_done += files
            self._bytes_done += size
            self.on_progress(
                TransferProgress(self._files_done, len(self.files), self._bytes_done, self._bytes_total),
            )


class _Upload:
    """One call of `Transfer.upload`."""

    def __init__(self, transfer: Transfer, prefix: str, tally: _Tally) -> None:
        self._transfer = transfer
        self._store = transfer.store
        self._prefix = prefix
        self._tally = tally
        self._wants_md5 = self._store.etags_are_md5 and not self._store.checks_crc64nvme
        self.stop = Event()

    def file(self, file: LocalFile) -> StoredFile:
        sums = _Sums(Crc64Nvme(), Md5Etag() if self._wants_md5 else None)
        multipart = file.size > self._transfer.part_size
        key = join_key(self._prefix, file.path)
        kind = content_type(file.path)
        attributes = ObjectAttributes(content_type=kind, cache_control=cache_control(file.path))
        try:
            with open_unchanged(file) as opened:
                etag = (self._put_parts if multipart else self._put)(file, opened, key, attributes, sums)
        except StoreError as error:
            raise UploadFailedError(f"{file.path} could not be uploaded: {error}") from error
        self._tally.add(files=1)
        return StoredFile(
            path=file.path,
            key=key,
            size=file.size,
            crc64nvme=sums.crc.base64(),
            etag=etag,
            expected_etag=sums.md5.etag(multipart=multipart) if sums.md5 else None,
            is_multipart=multipart,
            content_type=kind,
        )

    def _put(
        self,
        file: LocalFile,
        opened: OpenFile,
        key: str,
        attributes: ObjectAttributes,
        sums: "_Sums",
    ) -> str | None:
        data = opened.read()
        sums.update(data)
        etag = self._store.put(key, data, attributes)
        self._tally.add(size=file.size)
        return etag

    def _put_parts(
        self,
        file: LocalFile,
        opened: OpenFile,
        key: str,
        attributes: ObjectAttributes,
        sums: "_Sums",
    ) -> str | None:
        part_size = optimal_part_size(file.size, self._transfer.part_size)
        return self._store.put_parts(
            key,
            self._parts(opened, part_size, sums),
            part_size=part_size,
            concurrency=self._transfer.parts_in_flight(file.size),
            attributes=attributes,
        )

    def _parts(self, opened: OpenFile, part_size: int, sums: "_Sums") -> Iterator[bytes]:
        for part in opened.pieces(part_size):
            if self.stop.is_set():
                raise _Stopped
            sums.update(part)
            yield part
            self._tally.add(size=len(part))


@dataclass(frozen=True)
class _Sums:
    crc: Crc64Nvme
    md5: Md5Etag | None

    def update(self, data: bytes) -> None:
        self.crc.update(data)
        if self.md5:
            self.md5.update(data)
