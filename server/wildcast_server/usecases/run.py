"""Running one execution: compute, publish, finalise; and taking up again what a restart interrupted."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, PublicationRecord, utc_now
from wildcast_server.errors import (
    ExecutionCancelledError,
    ServiceUnavailableError,
    StatusConflictError,
    WildcastServerError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.jobs import JobEngine, Runner, RunRequest, surroundings
from wildcast_server.publish import Published
from wildcast_server.records import Records

logger = logging.getLogger(__name__)

Publish = Callable[[Path, Execution], Published]
"""Publishes an output directory as that execution's."""

MAX_ATTEMPTS = 3
"""After so many computations that the service did not survive, the execution is at fault."""

RECORD_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait, in seconds, before each further try to change a record while the records cannot be reached."""


@dataclass(frozen=True)
class RunExecution:
    """Take one execution from `queued` to its end.

    Parameters
    ----------
    output_root
        Each execution writes into ``<output_root>/<execution id>``.
    keep_local_output
        Whether that directory stays once a publication of it is verified elsewhere; after a failure it always stays.
    record_waits
        As `RECORD_WAITS`.
    """

    records: Records
    runner: Runner
    publish: Publish
    output_root: Path
    keep_local_output: bool
    record_waits: Sequence[float] = RECORD_WAITS

    def __call__(self, execution_id: str) -> None:
        """Run it; a failure ends in the record, not in an exception."""
        try:
            execution = self._patiently(execution_id, lambda: self._begin(self.records.get(execution_id)))
        except StatusConflictError as conflict:
            logger.info("%s is not run: %s", execution_id, conflict)
            return
        except ServiceUnavailableError as outage:
            logger.error("%s waits for the next start: %s", execution_id, outage)  # noqa: TRY400 - an outage needs no traceback
            return
        directory = self.output_root / execution.id
        logger.info("%s runs: %s, attempt %d", execution.id, execution.workflow_name, execution.attempt)
        try:
            ran = self._compute(execution, directory)
            computed = time.monotonic()
            execution = self._advance(execution, ExecutionStatus.PENDING_RESULTS, provenance=ran)
            published = self.publish(directory, execution)
            self._advance(
                execution,
                ExecutionStatus.COMPLETED,
                ended_at=utc_now(),
                published=as_record(published, execution.attempt),
                provenance=msgspec.structs.replace(ran, publish_seconds=time.monotonic() - computed),
            )
        except StatusConflictError as conflict:
            logger.warning("%s was changed by somebody else while it ran: %s", execution_id, conflict)
        except ExecutionCancelledError:
            put_back(self.records, execution)
        except Exception as error:  # noqa: BLE001 - whatever it was, the record must say so and the worker must live
            self._fail(execution, error)
        else:
            size = published.publication
            logger.info("%s completed: %d files, %d bytes at %s", execution.id, size.files, size.bytes, size.prefix)
            self._clean_up(directory, published)

    def _begin(self, execution: Execution) -> Execution:
        started = utc_now()
        waited = max(0.0, (started - execution.created_at).total_seconds())
        return self.records.change(
            execution.id,
            expected=ExecutionStatus.QUEUED,
            to=ExecutionStatus.RUNNING,
            started_at=started,
            # At once, so that it is known where a run is, and was when its host is lost.
            provenance=msgspec.structs.replace(surroundings(), queued_seconds=waited),
        )

    def _compute(self, execution: Execution, directory: Path) -> Provenance:
        # What an earlier attempt left is not this attempt's output; the runner refuses what cannot be removed.
        shutil.rmtree(directory, ignore_errors=True)
        request = RunRequest(
            execution_id=execution.id,
            workflow=execution.workflow_name,
            parameters=execution.parameters,
            output_directory=directory,
        )
        ran = self.runner.run(request, lambda progress: self._record_progress(execution, progress))
        return _with_waiting(ran, execution)

    def _record_progress(self, execution: Execution, progress: dict[str, Any]) -> None:
        try:
            current = self.records.set_progress(execution.id, execution.attempt, progress)
        except ServiceUnavailableError as error:
            # Hours of computing are worth more than a line about them.
            logger.warning("%s: its progress is not recorded: %s", execution.id, error)
            return
        if not current:
            raise StatusConflictError(f"{execution.id} is not running in attempt {execution.attempt} any more")

    def _advance(self, execution: Execution, to: ExecutionStatus, **fields: Any) -> Execution:
        where: dict[str, Any] = {"expected": execution.status, "to": to, "attempt": execution.attempt}
        return self._patiently(execution.id, lambda: self.records.change(execution.id, **where, **fields))

    def _patiently(self, execution_id: str, change: Callable[[], Execution]) -> Execution:
        # Hours of computing must not fail with a database that is away for a moment.
        for seconds in self.record_waits:
            try:
                return change()
            except ServiceUnavailableError as outage:
                logger.warning("%s: its record is changed in %g seconds: %s", execution_id, seconds, outage)
                time.sleep(seconds)
        return change()

    def _fail(self, execution: Execution, error: Exception) -> None:
        if isinstance(error, WorkflowFailedError | WorkflowLoadError) and error.traceback:
            logger.error("%s failed: %s\n%s", execution.id, error, error.traceback)
        else:
            logger.error("%s failed: %s", execution.id, error, exc_info=not isinstance(error, WildcastServerError))
        reason = str(error) if isinstance(error, WildcastServerError) else f"{type(error).__name__}: {error}"
        ran = error.provenance if isinstance(error, WorkflowError) else None
        known = execution.provenance if ran is None else _with_waiting(ran, execution)
        try:
            self._advance(execution, ExecutionStatus.FAILED, ended_at=utc_now(), error_message=reason, provenance=known)
        except StatusConflictError as conflict:
            logger.warning("%s was ended by somebody else: %s", execution.id, conflict)
        except ServiceUnavailableError as outage:
            # An outage needs no traceback.
            logger.warning("%s stays as it is recorded until the next start: %s", execution.id, outage)

    def _clean_up(self, directory: Path, published: Published) -> None:
        if published.storage_type == "server" or self.keep_local_output:
            return
        try:
            shutil.rmtree(directory)
        except OSError as error:
            logger.warning("%s is published and could not be removed (%s): remove it by hand", directory, error)


def _with_waiting(ran: Provenance, execution: Execution) -> Provenance:
    """Add to what the runner knows how long the execution has waited."""
    begun = execution.provenance
    return msgspec.structs.replace(ran, queued_seconds=None if begun is None else begun.queued_seconds)


def as_record(published: Published, attempt: int) -> PublicationRecord:
    """Reduce a publication to what the records keep of it, as that attempt's.

    What an earlier attempt committed, right before the service died, is this attempt's now if the files are the same.
    """
    return PublicationRecord(
        storage_type=published.storage_type,
        publication=msgspec.structs.replace(published.publication, attempt=attempt),
        datasets=published.datasets,
        upload=published.upload,
    )


def put_back(records: Records, execution: Execution) -> None:
    """Queue an active execution again: the service interrupts it in order to stop, and its next start takes it up.

    It stays in its attempt: stopping in order is no failure that counts.
    """
    try:
        records.change(
            execution.id,
            expected=execution.status,
            to=ExecutionStatus.QUEUED,
            attempt=execution.attempt,
            started_at=None,
            progress=None,
            provenance=None,
        )
    except StatusConflictError as conflict:
        logger.warning("%s was changed by somebody else while it ran: %s", execution.id, conflict)
    else:
        logger.warning("%s was interrupted and waits for the next start", execution.id)


def put_back_active(records: Records) -> None:
    """Queue again what is still active although the service has to stop; what it does from now on counts no more."""
    for execution in records.unfinished():
        if execution.status is not ExecutionStatus.QUEUED:
            put_back(records, execution)


def resume_unfinished(records: Records, jobs: JobEngine) -> list[str]:
    """Queue again what was waiting or active when the service last stopped; return the ids.

    An execution that was active begins a new attempt, unless it has had `MAX_ATTEMPTS`: then it fails.
    """
    resumed = []
    for execution in records.unfinished():
        if execution.status is not ExecutionStatus.QUEUED and not _requeue(records, execution):
            continue
        jobs.enqueue(execution.id)
        resumed.append(execution.id)
    return resumed


def _requeue(records: Records, execution: Execution) -> bool:
    if execution.attempt >= MAX_ATTEMPTS:
        records.change(
            execution.id,
            expected=execution.status,
            to=ExecutionStatus.FAILED,
            ended_at=utc_now(),
            error_message=f"the service stopped {MAX_ATTEMPTS} times while it ran this; it is not tried again",
        )
        return False
    records.change(
        execution.id,
        expected=execution.status,
        to=ExecutionStatus.QUEUED,
        new_attempt=execution.attempt + 1,
        started_at=None,
        progress=None,
        provenance=None,
    )
    return True
