"""The job that publishes: bring an output directory into the store, and complete its execution."""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import (
    CredentialsExpiredError,
    ExecutionCancelledError,
    NetworkError,
    PublicationError,
    StatusConflictError,
    StoreError,
    UnknownExecutionError,
    WildcastServerError,
)
from wildcast_server.failpoints import reached
from wildcast_server.jobs import Json, Steps
from wildcast_server.publish import Published
from wildcast_server.transfer.files import TransferProgress
from wildcast_server.usecases.again import compute_again
from wildcast_server.usecases.leaving import LeftError, unless_left
from wildcast_server.usecases.means import Means, serial_of
from wildcast_server.usecases.outcome import STALE, Outcome, as_record, reason_of
from wildcast_server.usecases.progress import Progress
from wildcast_server.usecases.watch import Why

logger = logging.getLogger(__name__)

PAUSES = (5.0, 15.0, 45.0)
"""How long to wait, in seconds, before each further try to publish into a store that cannot be reached."""

MAX_TRIES = 10
"""After so many deaths of the worker that published it, the execution is at fault, or its directory."""

STEPS = ("publish", "finalise", "clean up")
"""As those of `compute`."""


@dataclass(frozen=True, kw_only=True)
class PublishOutput:
    """Take an execution from `pending_results` to its end.

    Parameters
    ----------
    keep_local_output
        Whether the output directory stays once a publication of it is verified elsewhere; after a failure it stays in
        any case.
    max_attempts
        As `Compute` has it, for an output that is lost before it is published.
    pauses
        As `PAUSES`.
    """

    means: Means
    keep_local_output: bool
    max_attempts: int
    pauses: Sequence[float] = PAUSES

    async def __call__(self, job_id: str, execution_id: str, steps: Steps) -> None:
        """Do the job."""
        serial = serial_of(job_id)
        done = await steps.once("publish", lambda: self.publish(execution_id, serial).as_json())
        await steps.once("finalise", lambda: self.finalise(execution_id, serial, done))
        await steps.once("clean up", lambda: self.clean_up(execution_id, done))

    def publish(self, execution_id: str, serial: int) -> Outcome:
        """Upload, verify and commit; whatever happens is an outcome."""
        means = self.means
        if means.drain.has_begun:
            means.drain.freeze()
        execution = means.current(execution_id)
        if execution is None or execution.jobs != serial or execution.status is not ExecutionStatus.PENDING_RESULTS:
            return STALE
        if execution.cancel_requested_at is not None:
            means.abandon(execution, means.kept.take(execution))
            return Outcome(end="cancelled", attempt=execution.attempt)
        if means.marks.is_lost(execution):
            logger.warning("%s: what it computed is lost with a crash of the machine, or was removed", execution_id)
            return Outcome(end="lost", attempt=execution.attempt)
        if execution.tries >= MAX_TRIES:
            times = f"the service stopped {MAX_TRIES} times while it published this; it is not tried again"
            return Outcome(end="failed", attempt=execution.attempt, error=times)
        try:
            begun = means.patiently(
                execution_id,
                lambda: means.records.begin_try(execution_id, job=serial, worker=means.identity.id),
            )
        except StatusConflictError as conflict:
            logger.info("%s is not published: %s", execution_id, conflict)
            return STALE
        return _Publishing(self, begun).to_its_end()

    def finalise(self, execution_id: str, serial: int, done: Json) -> None:
        """Record how it ended."""
        outcome = Outcome.of_json(done)
        if outcome.end == "stale":
            return
        try:
            self.means.patiently(execution_id, lambda: self._finalise(execution_id, serial, outcome))
        except (StatusConflictError, UnknownExecutionError) as conflict:
            logger.warning("%s was changed by somebody else while it was published: %s", execution_id, conflict)

    def clean_up(self, execution_id: str, done: Json) -> None:
        """Remove the output directory, unless it is the publication itself, is to be kept, or may be needed again."""
        outcome = Outcome.of_json(done)
        execution = self.means.current(execution_id)
        if outcome.published is None or execution is None or execution.status is not ExecutionStatus.COMPLETED:
            return
        directory = self.means.directory(execution)
        try:
            if outcome.published.storage_type != "server" and not self.keep_local_output:
                shutil.rmtree(directory)
        except FileNotFoundError:
            logger.debug("%s is removed already", directory)
        except OSError as error:
            logger.warning("%s is published and could not be removed (%s): remove it by hand", directory, error)
        self.means.marks.remove(execution.name)

    def _finalise(self, execution_id: str, serial: int, outcome: Outcome) -> None:
        execution = self.means.records.get(execution_id)
        pending = ExecutionStatus.PENDING_RESULTS
        if execution.jobs != serial or execution.attempt != outcome.attempt or execution.status is not pending:
            return
        change = partial(self.means.records.change, execution_id, expected=pending, attempt=outcome.attempt, job=serial)
        match outcome.end:
            case "published":
                self._complete(execution, outcome, change)
            case "cancelled":
                changes, effects = self.means.ending(execution, ExecutionStatus.CANCELLED)
                change(to=ExecutionStatus.CANCELLED, effects=effects, **changes)
            case "lost" if execution.may_begin_again(self.max_attempts):
                compute_again(self.means.records, self.means.jobs, execution)
            case _:
                reason = outcome.error or "what it computed was lost with a crash of the machine, or was removed"
                changes, effects = self.means.ending(execution, ExecutionStatus.FAILED, reason)
                # What is lost can only be computed again.
                changes["failed_step"] = "compute" if outcome.end == "lost" else "publish"
                if outcome.end == "failed":
                    # Until a retry, which may be days and starts of the machine away.
                    self.means.marks.keep([execution.name])
                change(to=ExecutionStatus.FAILED, effects=effects, **changes)
                logger.error("%s failed: %s", execution_id, reason)
                if outcome.end == "failed":
                    logger.error(
                        "%s: what it computed stays; a retry publishes it without computing again", execution_id
                    )
        reached("finalised")

    def _complete(self, execution: Execution, outcome: Outcome, change: Any) -> None:
        if outcome.published is None:
            raise AssertionError
        changes, effects = self.means.ending(
            execution.with_changes(published=outcome.published), ExecutionStatus.COMPLETED
        )
        changes["published"] = outcome.published
        changes["provenance"] = outcome.provenance or execution.provenance
        changes["progress"] = outcome.progress or execution.progress
        change(to=ExecutionStatus.COMPLETED, effects=effects, **changes)
        size = outcome.published.publication
        logger.info("%s completed: %d files, %d bytes at %s", execution.id, size.files, size.bytes, size.prefix)


class _Publishing:
    """One job's publication on its way."""

    def __init__(self, job: PublishOutput, execution: Execution) -> None:
        self._job = job
        self._means = job.means
        self._execution = execution
        self._id = execution.id
        self._directory = job.means.directory(execution)
        self._progress = Progress(self._save, execution.progress)
        self._interrupted = threading.Event()

    def to_its_end(self) -> Outcome:
        """Publish, several times if the store cannot be reached."""
        execution, watch = self._execution, self._means.watch
        logger.info("%s is published, attempt %d, try %d", self._id, execution.attempt, execution.tries)
        watched = watch.add(self._id, execution.attempt, self._interrupted.set)
        why: Why | None = None
        began = time.monotonic()
        try:
            published = unless_left(self._told, self._interrupted)
        except ExecutionCancelledError:
            why = watch.remove(watched)
        except LeftError:
            # Its requests hang in a store that does not answer. What they store yet is removed with the rest.
            logger.warning("%s is left alone: the store does not answer", self._id)
            return self._cancelled(watch.remove(watched))
        except (PublicationError, StoreError) as error:
            return Outcome(end="failed", attempt=execution.attempt, error=str(error))
        except Exception as error:
            logger.exception("%s could not be published", self._id)
            return Outcome(end="failed", attempt=execution.attempt, error=reason_of(error))
        else:
            reached("publish.recorded")
            return self._published(published, time.monotonic() - began)
        finally:
            watch.remove(watched)
        if why is Why.CANCELLED:
            self._means.abandon(execution)
        return self._cancelled(why)

    def _cancelled(self, why: Why | None) -> Outcome:
        if why is not Why.CANCELLED:
            return STALE
        return Outcome(end="cancelled", attempt=self._execution.attempt)

    def _told(self) -> Published:
        with self._progress:
            return self._until_it_is()

    def _until_it_is(self) -> Published:
        kept = self._means.kept.take(self._execution)
        for pause in (*self._job.pauses, None):
            ongoing = kept or self._means.begin(self._directory, self._execution, afresh=False)
            kept = None
            try:
                return ongoing.finish(self._heeding)
            except (PublicationError, StoreError) as error:
                if pause is None or not _may_pass(error):
                    raise
                logger.warning("%s is published again in %g seconds: %s", self._id, pause, error)
            finally:
                ongoing.close()
            self._pause(pause)
        raise AssertionError  # the last try raises or returns

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._means.drain.has_begun:
                self._means.drain.freeze()
            if self._interrupted.wait(min(left, 0.2)):
                raise ExecutionCancelledError(f"{self._id} was cancelled")

    def _heeding(self, progress: TransferProgress) -> None:
        if self._interrupted.is_set():
            raise ExecutionCancelledError(f"{self._id} was cancelled")
        self._progress.publication(progress)

    def _published(self, published: Published, took: float) -> Outcome:
        ran = self._execution.provenance
        return Outcome(
            end="published",
            attempt=self._execution.attempt,
            published=as_record(published, self._execution.attempt),
            provenance=None if ran is None else msgspec.structs.replace(ran, publish_seconds=took),
            progress=self._progress.end(),
        )

    def _save(self, progress: dict[str, Any]) -> bool:
        return self._means.records.set_progress(self._id, self._execution.attempt, progress)


def _may_pass(error: WildcastServerError) -> bool:
    """Whether the store could not be reached, or did not know us any more, and may another time."""
    return isinstance(error.__cause__ or error, NetworkError | CredentialsExpiredError)
