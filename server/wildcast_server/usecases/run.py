"""Running one execution: compute, publish, finalise."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, PublicationRecord, utc_now
from wildcast_server.errors import (
    ExecutionCancelledError,
    RecordError,
    ServiceUnavailableError,
    StatusConflictError,
    WildcastServerError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.failpoints import reached
from wildcast_server.jobs import RunRequest, surroundings
from wildcast_server.publish import Published
from wildcast_server.records import Records
from wildcast_server.usecases.computed import Marks
from wildcast_server.usecases.progress import Progress
from wildcast_server.usecases.publication import Begin, Ongoing
from wildcast_server.usecases.restart import put_back

logger = logging.getLogger(__name__)

RECORD_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait, in seconds, before each further try to change a record while the records cannot be reached."""


class Runs(Protocol):
    """What runs workflows: a `Runner`."""

    @property
    def pid(self) -> int | None:
        """The process group of what runs now."""

    def run(self, request: RunRequest, on_progress: Callable[[dict[str, Any]], None]) -> Provenance:
        """Run it to its end."""


@dataclass(frozen=True)
class RunExecution:
    """Take one execution from `queued` to its end; one whose computation had ended, from there.

    Parameters
    ----------
    begin
        Begins a publication.
    output_root
        Each execution writes into ``<output_root>/<execution id>``.
    keep_local_output
        Whether that directory stays once a publication of it is verified elsewhere; after a failure it always stays.
    record_waits
        As `RECORD_WAITS`.
    """

    records: Records
    runner: Runs
    begin: Begin
    output_root: Path
    keep_local_output: bool
    record_waits: Sequence[float] = RECORD_WAITS

    @property
    def marks(self) -> Marks:
        """Tell which output directories are complete."""
        return Marks(self.output_root)

    def __call__(self, execution_id: str) -> None:
        """Run it; a failure ends in the record, not in an exception."""
        try:
            execution = self.patiently(execution_id, lambda: self._take(self.records.get(execution_id)))
        except StatusConflictError as conflict:
            logger.info("%s is not run: %s", execution_id, conflict)
        except ServiceUnavailableError as outage:
            logger.error("%s waits for the next start: %s", execution_id, outage)  # noqa: TRY400 - an outage needs no traceback
        else:
            _Run(self, execution).to_its_end()

    def clean_up_left(self) -> None:
        """Remove the output directories that a kill left behind although their publication was recorded."""
        for execution_id in self.marks:
            try:
                execution = self.records.get(execution_id)
            except RecordError:
                continue
            if execution.published is not None:
                self.clean_up(execution_id, execution.published.storage_type == "server")

    def abandon(self, execution: Execution) -> None:
        """Remove what was published live of an execution that is not tried again."""
        self.begin(self.output_root / execution.id, execution, afresh=False).abandon()

    def clean_up(self, execution_id: str, is_publication: bool) -> None:
        """Remove an output directory after it was published, unless it `is_publication` itself or is to be kept."""
        directory = self.output_root / execution_id
        try:
            if not is_publication and not self.keep_local_output:
                shutil.rmtree(directory)
        except OSError as error:
            logger.warning("%s is published and could not be removed (%s): remove it by hand", directory, error)
        self.marks.remove(execution_id)

    def patiently(self, execution_id: str, change: Callable[[], Execution]) -> Execution:
        """Make a change, again and again while the records cannot be reached."""
        # Hours of computing must not fail with a database that is away for a moment.
        for seconds in self.record_waits:
            try:
                return change()
            except ServiceUnavailableError as outage:
                logger.warning("%s: its record is changed in %g seconds: %s", execution_id, seconds, outage)
                time.sleep(seconds)
        return change()

    def _take(self, execution: Execution) -> Execution:
        if execution.status is ExecutionStatus.PENDING_RESULTS and self.marks.holds(execution):
            return execution
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


class _Run:
    """One execution on its way."""

    def __init__(self, means: RunExecution, execution: Execution) -> None:
        self._means = means
        self._execution = execution
        self._id = execution.id
        self._directory = means.output_root / execution.id
        self._is_computed = execution.status is ExecutionStatus.PENDING_RESULTS
        self._progress = Progress(self._save, execution.progress)
        self._ongoing: Ongoing | None = None

    def to_its_end(self) -> None:
        execution = self._execution
        done = "is published, and not computed again" if self._is_computed else "runs"
        logger.info("%s %s: %s, attempt %d", self._id, done, execution.workflow_name, execution.attempt)
        try:
            with self._progress:
                published = self._publish(self._begun() if self._is_computed else self._compute())
        except StatusConflictError as conflict:
            logger.warning("%s was changed by somebody else while it ran: %s", self._id, conflict)
            self._abandon(only_if_ended=True)
        except ExecutionCancelledError:
            put_back(self._means.records, self._execution)
            self._abandon()
        except Exception as error:  # noqa: BLE001 - whatever it was, the record must say so and the worker must live
            self._fail(error)
            self._abandon()
        else:
            reached("publish.recorded")
            size = published.publication
            logger.info("%s completed: %d files, %d bytes at %s", self._id, size.files, size.bytes, size.prefix)
            self._means.clean_up(self._id, published.storage_type == "server")

    def _begun(self) -> Ongoing:
        self._ongoing = self._means.begin(self._directory, self._execution, afresh=not self._is_computed)
        return self._ongoing

    def _compute(self) -> Ongoing:
        self._means.marks.remove(self._id)
        # What an earlier attempt left is not this attempt's output; the runner refuses what cannot be removed.
        shutil.rmtree(self._directory, ignore_errors=True)
        ongoing, runner, execution = self._begun(), self._means.runner, self._execution
        request = RunRequest(
            execution_id=execution.id,
            workflow=execution.workflow_name,
            parameters=execution.parameters,
            output_directory=self._directory,
            sink=ongoing.sink(),
        )
        with ongoing.live(lambda: runner.pid, self._progress.publication):
            ran = _with_waiting(runner.run(request, self._report), execution)
        self._means.marks.set(execution)
        self._is_computed = True
        self._advance(ExecutionStatus.PENDING_RESULTS, provenance=ran)
        return ongoing

    def _publish(self, ongoing: Ongoing) -> Published:
        began = time.monotonic()
        published = ongoing.finish(self._progress.publication)
        ran = self._execution.provenance
        took = time.monotonic() - began
        self._advance(
            ExecutionStatus.COMPLETED,
            ended_at=utc_now(),
            published=as_record(published, self._execution.attempt),
            provenance=None if ran is None else msgspec.structs.replace(ran, publish_seconds=took),
            progress=self._progress.end(),
        )
        return published

    def _report(self, progress: dict[str, Any]) -> None:
        try:
            current = self._progress.workflow(progress)
        except ServiceUnavailableError as error:
            # Hours of computing are worth more than a line about them.
            logger.warning("%s: its progress is not recorded: %s", self._id, error)
            return
        if not current:
            raise StatusConflictError(f"{self._id} is not running in attempt {self._execution.attempt} any more")

    def _save(self, progress: dict[str, Any]) -> bool:
        return self._means.records.set_progress(self._id, self._execution.attempt, progress)

    def _advance(self, to: ExecutionStatus, **fields: Any) -> None:
        now, records = self._execution, self._means.records
        where: dict[str, Any] = {"expected": now.status, "to": to, "attempt": now.attempt}
        self._execution = self._means.patiently(now.id, lambda: records.change(now.id, **where, **fields))

    def _fail(self, error: Exception) -> None:
        if isinstance(error, WorkflowFailedError | WorkflowLoadError) and error.traceback:
            logger.error("%s failed: %s\n%s", self._id, error, error.traceback)
        else:
            logger.error("%s failed: %s", self._id, error, exc_info=not isinstance(error, WildcastServerError))
        if self._is_computed:
            again = f"wildcast-server publish {self._directory} --name {self._id}"
            logger.error("%s: what it computed stays; `%s` publishes it without computing again", self._id, again)
        reason = str(error) if isinstance(error, WildcastServerError) else f"{type(error).__name__}: {error}"
        ran = error.provenance if isinstance(error, WorkflowError) else None
        known = self._execution.provenance if ran is None else _with_waiting(ran, self._execution)
        try:
            self._advance(ExecutionStatus.FAILED, ended_at=utc_now(), error_message=reason, provenance=known)
        except StatusConflictError as conflict:
            logger.warning("%s was ended by somebody else: %s", self._id, conflict)
        except ServiceUnavailableError as outage:
            # An outage needs no traceback.
            logger.warning("%s stays as it is recorded until the next start: %s", self._id, outage)

    def _abandon(self, *, only_if_ended: bool = False) -> None:
        """Give up what was published live of a computation that did not come to its end, or that nobody wants.

        What was computed stays, on disk and in the store: publishing it again costs no computation.
        """
        if self._ongoing is None:
            return
        if self._was_ended() if only_if_ended else not self._is_computed:
            self._ongoing.abandon()
        else:
            self._ongoing.close()

    def _was_ended(self) -> bool:
        """Whether somebody ended this very attempt; of another attempt, the prefix may be in use."""
        try:
            now = self._means.records.get(self._id)
        except WildcastServerError:
            return False
        ended = now.status.is_final and now.status is not ExecutionStatus.COMPLETED
        return ended and now.attempt == self._execution.attempt


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
