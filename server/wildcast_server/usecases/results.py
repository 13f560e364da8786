"""Handing out what an execution published: its metadata with a fresh signed URL, and single files."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import NamedTuple

import msgspec

from wildcast.contract.manifest import Manifest, ManifestError
from wildcast.contract.naming import MANIFEST_PATH, check_key, join_key
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import OutputFile, ResultMetadata, StorageType, files_of
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.errors import NoResultsError, NotFoundError, ServiceUnavailableError, StoreIoError
from wildcast_server.publish import read_manifest
from wildcast_server.signing.base import SignedLink, Signer
from wildcast_server.store import ObjectStore
from wildcast_server.usecases.lookup import Lookup

CACHED_ROWS = 500_000
"""Of all cached manifests together; 100,000 rows take some 40 MB. A manifest never changes once it is committed."""

ROWS_OF_A_MANIFEST = 3
"""What a manifest takes besides its rows is as much as so many of them: results of one file are bounded as well."""

NO_FILES = msgspec.Raw(b"[]")


@dataclass(frozen=True)
class ServedFile:
    """A file that the API itself has to send."""

    store: ObjectStore
    key: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The files of a completed execution."""

    execution: Execution
    store: ObjectStore
    prefix: str
    """Each row's key is ``<prefix>/<path>``."""
    manifest: Manifest
    paths: frozenset[str]
    """Of the manifest's rows."""


class StoredManifest(NamedTuple):
    """A manifest that nobody has decoded."""

    data: bytes
    """Gzipped JSON."""
    committed_at: datetime


class Rows(NamedTuple):
    """Some of the manifest's rows: those from `start` on, `limit` of them at most."""

    start: int
    limit: int


@dataclass(frozen=True)
class Description:
    """The metadata of a result, whose files are encoded once and not for every answer."""

    metadata: ResultMetadata
    """Its `output_files` are empty."""
    output_files: msgspec.Raw
    """The JSON of those that belong there."""
    rows_left: int = 0
    """How many rows the manifest has behind the last one that is described here."""

    def to_json(self) -> bytes:
        """Return all of it as the API sends it."""
        return msgspec.json.encode(msgspec.structs.asdict(self.metadata) | {"output_files": self.output_files})


@dataclass(frozen=True)
class _Contents:
    manifest: Manifest
    paths: frozenset[str]
    output_files: msgspec.Raw


_Place = tuple[StorageType, str]


class _Cache:
    """The contents of the publications that were asked for last, as far as `max_rows` reaches."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows = 0
        self._entries: OrderedDict[_Place, _Contents] = OrderedDict()
        # Held for a moment only, however much is cached: the event loop asks too.
        self._lock = Lock()

    def get(self, place: _Place) -> _Contents | None:
        with self._lock:
            if place in self._entries:
                self._entries.move_to_end(place)
            return self._entries.get(place)

    def put(self, place: _Place, contents: _Contents) -> None:
        with self._lock:
            if place in self._entries:  # two threads have read it
                self._rows -= _rows_of(self._entries.pop(place))
            self._entries[place] = contents
            self._rows += _rows_of(contents)
            while self._rows > self._max_rows:
                self._rows -= _rows_of(self._entries.popitem(last=False)[1])


def _rows_of(contents: _Contents) -> int:
    return ROWS_OF_A_MANIFEST + contents.manifest.files


class Results:
    """What completed executions have published.

    Parameters
    ----------
    stores
        Where the publications of each storage type lie.
    signer
        Signs for storage type ``s3``; None where object storage is off.
    """

    def __init__(self, lookup: Lookup, stores: Mapping[StorageType, ObjectStore], signer: Signer | None) -> None:
        self._lookup = lookup
        self._stores = stores
        self._signer = signer
        self._cache = _Cache(CACHED_ROWS)

    def describe(self, execution: Execution, *, listed: bool = True, rows: Rows | None = None) -> Description:
        """Describe the result of an execution, with a URL that is signed now.

        Parameters
        ----------
        execution
            As the records have it now.
        listed
            Whether to name the files, for which the manifest has to be read where it is not `at_hand`.
        rows
            Which of them to name; None for all.

        Raises
        ------
        NoResultsError
            If it is not completed; its status says whether it will be.
        ServiceUnavailableError
            If it lies in object storage, which is off now.
        StoreIoError
            If its manifest is lost or damaged: that is no "not found".
        """
        record = published(execution)
        self._store(record.storage_type)
        metadata = describe(execution, record, self._sign(record))
        if not listed:
            return Description(metadata, NO_FILES)
        contents = self._contents(execution)
        if rows is None:
            return Description(metadata, contents.output_files)
        every = contents.manifest.rows
        some = every[rows.start : rows.start + rows.limit]
        files = [OutputFile(path=f"{execution.id}/{row.path}", size=row.size) for row in some]
        return Description(
            metadata, msgspec.Raw(msgspec.json.encode(files)), max(0, len(every) - rows.start - len(some))
        )

    def at_hand(self, execution: Execution) -> bool:
        """Whether its files are known already, so that describing it waits for no store; raises `NoResultsError`."""
        return self._cache.get(_place(published(execution))) is not None

    def file(self, workflow_name: str, execution_id: str, path: str) -> SignedLink | ServedFile:
        """Find one file of the result; `path` begins with the execution's id or not.

        Raises
        ------
        UnknownExecutionError
            If the workflow has no such execution.
        NoResultsError, ServiceUnavailableError, StoreIoError
            As `describe`.
        InvalidPathError
            If `path` is no path inside a publication.
        NotFoundError
            If the result has no such file.
        """
        execution, record = self._completed(workflow_name, execution_id)
        relative = check_key(path.removeprefix(f"{execution.id}/"))
        if relative != MANIFEST_PATH and relative not in self._contents(execution).paths:
            raise NotFoundError(f"the result of {execution.id} has no file {relative!r}", relative)
        key = join_key(record.publication.prefix, relative)
        if record.storage_type == "s3" and self._signer is not None:
            return self._signer.sign_url(key)
        return ServedFile(self._store(record.storage_type), key)

    def contents(self, workflow_name: str, execution_id: str) -> Contents:
        """Return every file of the result, and where they lie; raises as `file`."""
        execution, record = self._completed(workflow_name, execution_id)
        contents = self._contents(execution)
        return Contents(
            execution=execution,
            store=self._store(record.storage_type),
            prefix=record.publication.prefix,
            manifest=contents.manifest,
            paths=contents.paths,
        )

    def manifest(self, workflow_name: str, execution_id: str) -> StoredManifest:
        """Return the manifest as it lies in the store; raises as `file`."""
        execution, record = self._completed(workflow_name, execution_id)
        store, prefix = self._store(record.storage_type), record.publication.prefix
        try:
            data = store.get(record.publication.manifest)
        except NotFoundError as error:
            raise StoreIoError(f"the publication {prefix} is not in {store.uri} any more", store.uri) from error
        return StoredManifest(data, execution.ended_at or execution.created_at)

    def _completed(self, workflow_name: str, execution_id: str) -> tuple[Execution, PublicationRecord]:
        execution = self._lookup.execution(workflow_name, execution_id)
        return execution, published(execution)

    def _contents(self, execution: Execution) -> _Contents:
        place = _place(published(execution))
        contents = self._cache.get(place)
        if contents is None:
            manifest = self._read_manifest(*place)
            files = msgspec.Raw(msgspec.json.encode(files_of(manifest, execution.id)))
            contents = _Contents(manifest, frozenset(row.path for row in manifest.rows), files)
            self._cache.put(place, contents)
        return contents

    def _read_manifest(self, storage_type: StorageType, prefix: str) -> Manifest:
        store = self._store(storage_type)
        try:
            return read_manifest(store, prefix)
        except NotFoundError as error:
            raise StoreIoError(f"the publication {prefix} is not in {store.uri} any more", store.uri) from error
        except ManifestError as error:
            raise StoreIoError(f"the publication {prefix} cannot be read: {error}", store.uri) from error

    def _store(self, storage_type: StorageType) -> ObjectStore:
        try:
            return self._stores[storage_type]
        except KeyError:
            raise storage_is_off() from None

    def _sign(self, record: PublicationRecord) -> SignedLink | None:
        if record.storage_type == "server" or self._signer is None:
            return None
        return self._signer.sign_prefix(record.publication.prefix)


def published(execution: Execution) -> PublicationRecord:
    """Return what a completed execution has published; raises `NoResultsError` for any other."""
    if execution.status is ExecutionStatus.COMPLETED and execution.published is not None:
        return execution.published
    raise NoResultsError(_why_not(execution), execution.status)


def storage_is_off() -> ServiceUnavailableError:
    """Say that a result lies where this server does not look any more."""
    return ServiceUnavailableError(
        "this result was published to object storage, which is off on this server now: "
        "its operator has to set object_storage.enabled again"
    )


def _place(record: PublicationRecord) -> _Place:
    return record.storage_type, record.publication.prefix


def describe(execution: Execution, record: PublicationRecord, link: SignedLink | None) -> ResultMetadata:
    """Put together the metadata of a completed execution, its files apart."""
    provenance = execution.provenance
    return ResultMetadata(
        request_id=execution.id,
        status=execution.status,
        completion_time=execution.ended_at,
        execution_time_seconds=execution.seconds,
        workflow_name=execution.workflow_name,
        created_at=execution.created_at,
        parameters=execution.parameters,
        storage_type=record.storage_type,
        remote_path=record.publication.prefix if record.storage_type == "s3" else None,
        signed_url=link.url if link else None,
        output_files=(),
        expires_at=link.expires_at if link else None,
        result_expires_at=None if execution.pinned else execution.expires_at,
        pinned=execution.pinned,
        publication=record.publication,
        datasets=record.datasets,
        upload=record.upload,
        peak_memory_usage=None if provenance is None else provenance.peak_memory_bytes,
        device=None if provenance is None else provenance.device,
        provenance=provenance,
    )


def _why_not(execution: Execution) -> str:
    match execution.status:
        case ExecutionStatus.FAILED:
            return f"{execution.id} failed: {execution.error_message}"
        case ExecutionStatus.CANCELLED:
            return f"{execution.id} was cancelled and has no results"
        case ExecutionStatus.EXPIRED:
            return f"the results of {execution.id} have expired; submit the request again"
        case status:
            return f"{execution.id} is {status}; its results are not there yet"
