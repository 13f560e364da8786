"""Handing out what an execution published: its metadata with a fresh signed URL, and single files."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from wildcast.contract.manifest import Manifest, ManifestError
from wildcast.contract.naming import MANIFEST_PATH, check_key, join_key
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import ResultMetadata, StorageType, files_of
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.errors import NoResultsError, NotFoundError, ServiceUnavailableError, StoreIoError
from wildcast_server.publish import read_manifest
from wildcast_server.signing.base import SignedLink, Signer
from wildcast_server.store import ObjectStore
from wildcast_server.usecases.lookup import Lookup

CACHED_ROWS = 500_000
"""Of all cached manifests together; 100,000 rows take some 30 MB. A manifest never changes once it is committed."""


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


@dataclass(frozen=True)
class _Contents:
    manifest: Manifest
    paths: frozenset[str]


_Place = tuple[StorageType, str]


class _Cache:
    """The contents of the publications that were asked for last, as far as `max_rows` reaches."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._entries: OrderedDict[_Place, _Contents] = OrderedDict()
        self._lock = Lock()

    def get(self, place: _Place) -> _Contents | None:
        with self._lock:
            contents = self._entries.pop(place, None)
            if contents is not None:
                self._entries[place] = contents
            return contents

    def put(self, place: _Place, contents: _Contents) -> None:
        with self._lock:
            self._entries[place] = contents
            while self._entries and sum(entry.manifest.files for entry in self._entries.values()) > self._max_rows:
                self._entries.popitem(last=False)


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

    def metadata(self, workflow_name: str, execution_id: str) -> ResultMetadata:
        """Describe the result, with a URL that is signed now.

        Raises
        ------
        UnknownExecutionError
            If the workflow has no such execution.
        NoResultsError
            If it is not completed; its status says whether it will be.
        ServiceUnavailableError
            If it lies in object storage, which is off now.
        StoreIoError
            If its manifest is lost or damaged: that is no "not found".
        """
        execution, record = self._completed(workflow_name, execution_id)
        return describe(execution, record, self._contents(record).manifest, self._sign(record))

    def file(self, workflow_name: str, execution_id: str, path: str) -> SignedLink | ServedFile:
        """Find one file of the result; `path` begins with the execution's id or not.

        Raises
        ------
        UnknownExecutionError, NoResultsError, ServiceUnavailableError, StoreIoError
            As `metadata`.
        InvalidPathError
            If `path` is no path inside a publication.
        NotFoundError
            If the result has no such file.
        """
        execution, record = self._completed(workflow_name, execution_id)
        relative = check_key(path.removeprefix(f"{execution.id}/"))
        if relative != MANIFEST_PATH and relative not in self._contents(record).paths:
            raise NotFoundError(f"the result of {execution.id} has no file {relative!r}", relative)
        key = join_key(record.publication.prefix, relative)
        if record.storage_type == "s3" and self._signer is not None:
            return self._signer.sign_url(key)
        return ServedFile(self._store(record.storage_type), key)

    def contents(self, workflow_name: str, execution_id: str) -> Contents:
        """Return every file of the result, and where they lie; raises as `metadata`."""
        execution, record = self._completed(workflow_name, execution_id)
        return Contents(
            execution=execution,
            store=self._store(record.storage_type),
            prefix=record.publication.prefix,
            manifest=self._contents(record).manifest,
        )

    def _completed(self, workflow_name: str, execution_id: str) -> tuple[Execution, PublicationRecord]:
        execution = self._lookup.execution(workflow_name, execution_id)
        if execution.status is ExecutionStatus.COMPLETED and execution.published is not None:
            return execution, execution.published
        raise NoResultsError(_why_not(execution), execution.status)

    def _contents(self, record: PublicationRecord) -> _Contents:
        place = (record.storage_type, record.publication.prefix)
        contents = self._cache.get(place)
        if contents is None:
            contents = self._read_contents(*place)
            self._cache.put(place, contents)
        return contents

    def _read_contents(self, storage_type: StorageType, prefix: str) -> _Contents:
        store = self._store(storage_type)
        try:
            manifest = read_manifest(store, prefix)
        except NotFoundError as error:
            raise StoreIoError(f"the publication {prefix} is not in {store.uri} any more", store.uri) from error
        except ManifestError as error:
            raise StoreIoError(f"the publication {prefix} cannot be read: {error}", store.uri) from error
        return _Contents(manifest, frozenset(row.path for row in manifest.rows))

    def _store(self, storage_type: StorageType) -> ObjectStore:
        try:
            return self._stores[storage_type]
        except KeyError:
            raise ServiceUnavailableError(
                "this result was published to object storage, which is off on this server now: "
                "its operator has to set object_storage.enabled again"
            ) from None

    def _sign(self, record: PublicationRecord) -> SignedLink | None:
        if record.storage_type == "server" or self._signer is None:
            return None
        return self._signer.sign_prefix(record.publication.prefix)


def describe(
    execution: Execution, record: PublicationRecord, manifest: Manifest, link: SignedLink | None
) -> ResultMetadata:
    """Put together the metadata of a completed execution."""
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
        output_files=files_of(manifest, execution.id),
        expires_at=link.expires_at if link else None,
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
