"""Handing out what an execution has stored so far, while it still runs."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import msgspec

from wildcast.contract.manifest import Manifest, ManifestError
from wildcast.contract.naming import join_key
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Publication, files_of
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.errors import NoResultsError, StatusConflictError, StoreIoError
from wildcast_server.publish.partial import partial_key, read_partial
from wildcast_server.records import Records
from wildcast_server.records.values import UNFINISHED
from wildcast_server.signing.base import Signer
from wildcast_server.store import ObjectStore
from wildcast_server.usecases.results import NO_FILES, Description, describe

KEEP_SECONDS = 1.0
"""How long a list is kept for those who ask again: a newer one is not written sooner either."""

KEPT = 64
"""Lists at most; those that were asked for last."""

PLACES = 20
"""How many places are looked at, from the execution's own on: each that was given up costs one request."""

_MAY_BE_ASKED = (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)


@dataclass(frozen=True)
class _Shown:
    prefix: str
    manifest: Manifest
    output_files: msgspec.Raw


class Partials:
    """What unfinished executions show.

    Parameters
    ----------
    records
        Where it is noted that somebody wants to know.
    store, signer
        Where results are published, and what signs for it; None where object storage is off.
    prefix
        What every publication's prefix begins with.
    clock
        Counts seconds.
    """

    def __init__(
        self,
        records: Records,
        store: ObjectStore | None,
        signer: Signer | None,
        prefix: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._store = store
        self._signer = signer
        self._prefix = prefix
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int, int], tuple[float, _Shown]] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def has(execution: Execution) -> bool:
        """Whether to ask here: once it has ended, it has results, or none."""
        return execution.status in UNFINISHED

    def describe(self, execution: Execution, *, listed: bool = True) -> Description:
        """Describe what is stored and verified so far, with a URL that is signed now.

        The first who asks has the worker begin to list it, so they are told that there is nothing yet.

        Parameters
        ----------
        execution
            As the records have it now.
        listed
            Whether to name the files.

        Raises
        ------
        NoResultsError
            If nothing is shown yet, or the execution is not under way.
        StoreIoError
            If the list cannot be read.
        """
        if not self.has(execution):
            raise NoResultsError(f"{execution.id} is {execution.status}; ask for its results", execution.status)
        if self._store is None or self._signer is None:
            raise NoResultsError(
                f"{execution.id} is {execution.status}, and only results in object storage can be read before the end",
                execution.status,
            )
        self._ask(execution)
        shown = self._shown(self._store, execution)
        link = self._signer.sign_prefix(shown.prefix)
        metadata = describe(execution, _record(execution, shown), link)
        return Description(
            msgspec.structs.replace(metadata, partial=True, completion_time=None),
            shown.output_files if listed else NO_FILES,
        )

    def _ask(self, execution: Execution) -> None:
        if execution.partial_asked or execution.status not in _MAY_BE_ASKED:
            return
        try:
            self._records.mark(execution.id, expected=_MAY_BE_ASKED, partial=True)
        except StatusConflictError:
            # What it did not show while it ran is shown with everything else in a moment.
            return

    def _shown(self, store: ObjectStore, execution: Execution) -> _Shown:
        place = execution.id, execution.attempt, execution.place
        now = self._clock()
        with self._lock:
            # Each may have a million files: none is kept for longer than it is good for.
            for other in [key for key, (at, _) in self._kept.items() if now - at >= KEEP_SECONDS]:
                del self._kept[other]
            kept = self._kept.get(place)
        if kept is not None:
            return kept[1]
        shown = self._find(store, execution)
        with self._lock:
            self._kept[place] = now, shown
            self._kept.move_to_end(place)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return shown

    def _find(self, store: ObjectStore, execution: Execution) -> _Shown:
        for number in range(execution.place, execution.place + PLACES):
            prefix = join_key(self._prefix, execution.with_changes(place=number).name)
            try:
                manifest = read_partial(store, prefix)
            except ManifestError as error:
                raise StoreIoError(f"what {execution.id} shows cannot be read: {error}", store.uri) from error
            if manifest is None:
                break
            # What was shown by an attempt before, or was taken back, is behind; the current one went on from there.
            if manifest.rows and (manifest.execution, manifest.attempt) == (execution.id, execution.attempt):
                files = msgspec.Raw(msgspec.json.encode(files_of(manifest, execution.id)))
                return _Shown(prefix, manifest, files)
        raise NoResultsError(
            f"{execution.id} is {execution.status}, and nothing of it is there to be read yet", execution.status
        )


def _record(execution: Execution, shown: _Shown) -> PublicationRecord:
    manifest = shown.manifest
    return PublicationRecord(
        storage_type="s3",
        publication=Publication(
            prefix=shown.prefix,
            attempt=execution.attempt,
            files=manifest.files,
            bytes=manifest.bytes,
            manifest=partial_key(shown.prefix),
            verified=manifest.verified,
        ),
        datasets=manifest.datasets,
        upload=None,
    )
