"""The job that computes: run the workflow, then hand its output over to be published."""

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import (
    ExecutionCancelledError,
    RunnerDiedError,
    ServiceUnavailableError,
    StatusConflictError,
    UnknownExecutionError,
    WildcastServerError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.failpoints import reached
from wildcast_server.jobs import Json, RunRequest, Steps, surroundings
from wildcast_server.records import Effects
from wildcast_server.usecases.leaving import LeftError, unless_left
from wildcast_server.usecases.means import Means, serial_of
from wildcast_server.usecases.outcome import STALE, Outcome, reason_of
from wildcast_server.usecases.progress import Progress
from wildcast_server.usecases.publication import Ongoing
from wildcast_server.usecases.queues import publish_job
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.watch import Watched, Why

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""How long a workflow that is cancelled may take to notice; then it is killed."""

LEFT_SECONDS = 1.0
"""How much longer than that the end of one that is called off is waited for."""

ROOM_SECONDS = 1.0
"""Between two looks at a disk that is too full."""

_LOOK_SECONDS = 0.05

STEPS = ("run", "hand over")
"""What the engine keeps, in order; another order or name is another `APPLICATION_VERSION` of the engine's adapter."""

_LOOKS = 1_000
"""More often than an execution is begun or changed in one job, unless something is wrong."""

_BEFORE_ITS_END = (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)


class Runs(Protocol):
    """What runs workflows: a `Runner`."""

    @property
    def pid(self) -> int | None:
        """The process group of what runs now."""

    def run(
        self, request: RunRequest, on_progress: Callable[[dict[str, Any]], None], on_start: Callable[[], None]
    ) -> Provenance:
        """Run it to its end."""

    def cancel(self, grace: float, execution_id: str | None = None) -> bool:
        """Interrupt it."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Take an execution from `queued` to `pending_results`, or to its end.

    Each step may be done again after a death of this process: what it changes, it changes only once.

    Parameters
    ----------
    max_attempts
        How often it is begun whose process or worker dies; a retry begins to count anew.
    seconds_for
        How long a workflow of that name may run; None for any time.
    room
        Without which nothing is begun; None for any.
    """

    means: Means
    runner: Runs
    max_attempts: int
    seconds_for: Callable[[str], float | None] = lambda _name: None
    room: Room | None = None

    async def __call__(self, job_id: str, execution_id: str, steps: Steps) -> None:
        """Do the job."""
        serial = serial_of(job_id)
        ran = await steps.interruptible(
            "run",
            lambda: self.run(execution_id, serial).as_json(),
            lambda: self.interrupt(execution_id),
        )
        await steps.once("hand over", lambda: self.hand_over(execution_id, serial, ran))

    def interrupt(self, execution_id: str) -> None:
        """End what runs, at once."""
        self.runner.cancel(0.0, execution_id)

    def run(self, execution_id: str, serial: int) -> Outcome:
        """Run the workflow, and again if its process dies; whatever happens is an outcome."""
        died: RunnerDiedError | None = None
        for _ in range(_LOOKS):
            if self.means.drain.has_begun:
                self.means.drain.freeze()
            execution = self.means.current(execution_id)
            if execution is None or execution.jobs != serial or execution.status not in _BEFORE_ITS_END:
                return STALE
            if (known := self._known(execution, died)) is not None:
                return known
            if self._waited_for_room(execution):
                continue
            try:
                return _Run(self, self._begin(execution)).to_its_end()
            except RunnerDiedError as error:
                died = error
            except (StatusConflictError, UnknownExecutionError) as conflict:
                # It is to be cancelled now, or somebody else's: looked at again, it is decided anew.
                logger.info("%s is not run: %s", execution_id, conflict)
        return STALE

    def _waited_for_room(self, execution: Execution) -> bool:
        """Wait for room on the disk, if there is none, as long as it is to be begun; whether it had to."""
        if (lacking := self._lacking()) is None:
            return False
        logger.warning("%s waits: %s", execution.id, lacking)
        while self._lacking() is not None and not self.means.drain.wait(ROOM_SECONDS):
            now = self.means.current(execution.id)
            if now is None or (now.status, now.jobs) != (execution.status, execution.jobs):
                break
            if now.cancel_requested_at is not None:
                break
        return True

    def _lacking(self) -> ServiceUnavailableError | None:
        try:
            if self.room is not None:
                self.room.check()
        except ServiceUnavailableError as error:
            return error
        return None

    def hand_over(self, execution_id: str, serial: int, ran: Json) -> None:
        """Record how it ended; what was computed is given to who publishes, in the same transaction."""
        outcome = Outcome.of_json(ran)
        if outcome.end == "stale":
            return
        try:
            self.means.patiently(execution_id, lambda: self._hand_over(execution_id, serial, outcome))
        except (StatusConflictError, UnknownExecutionError) as conflict:
            logger.warning("%s was changed by somebody else while it ran: %s", execution_id, conflict)

    def _hand_over(self, execution_id: str, serial: int, outcome: Outcome) -> None:
        execution = self.means.records.get(execution_id)
        if execution.jobs != serial or execution.attempt != outcome.attempt:
            return
        if execution.status in _BEFORE_ITS_END:
            self._change(execution, outcome)
            reached("handed.over")
        if outcome.end == "failed":
            # Behind the change, which may have been made before this process died.
            self.means.abandon(execution)
        if outcome.end != "computed":
            self.means.marks.remove(execution.name)

    def _change(self, execution: Execution, outcome: Outcome) -> None:
        change = partial(
            self.means.records.change,
            execution.id,
            expected=_BEFORE_ITS_END,
            attempt=outcome.attempt,
            job=execution.jobs,
        )
        provenance = outcome.provenance or execution.provenance
        if outcome.end == "computed":
            effects = Effects(within=lambda now, connection: self.means.jobs.enqueue(publish_job(now), connection))
            to = ExecutionStatus.PENDING_RESULTS
            change(to=to, new_job=True, tries=0, provenance=provenance, effects=effects)
            return
        to = ExecutionStatus.CANCELLED if outcome.end == "cancelled" else ExecutionStatus.FAILED
        changes, effects = self.means.ending(execution, to, outcome.error)
        changes["provenance"] = provenance
        if to is ExecutionStatus.FAILED:
            changes["failed_step"] = "compute"
        change(to=to, effects=effects, **changes)
        logger.info("%s ended: %s", execution.id, to)

    def _known(self, execution: Execution, died: RunnerDiedError | None) -> Outcome | None:
        """Return the outcome of what need not, or must not, be run."""
        if execution.cancel_requested_at is not None:
            if execution.worker is not None:
                self.means.abandon(execution)
            return Outcome(end="cancelled", attempt=execution.attempt)
        if execution.status is not ExecutionStatus.RUNNING:
            return None
        computed = self.means.marks.find(execution)
        if computed is not None:
            logger.info("%s is computed, and not run again", execution.id)
            return Outcome(end="computed", attempt=execution.attempt, provenance=computed.provenance)
        if self._was_not_begun(execution) or (
            execution.may_begin_again(self.max_attempts) and not self._never_is(execution)
        ):
            return None
        often = max(execution.deaths + 1, self.means.marks.taken(execution))
        times = f"the service stopped {often} times while it ran this; it is not tried again"
        return Outcome(
            end="failed",
            attempt=execution.attempt,
            error=times if died is None else str(died),
            provenance=None if died is None else died.provenance,
        )

    def _begin(self, execution: Execution) -> Execution:
        means, started = self.means, utc_now()
        if execution.status is ExecutionStatus.QUEUED:
            # It was put back in this attempt, if it was begun.
            means.marks.remove(execution.name)
        waited = max(0.0, (started - execution.created_at).total_seconds())
        begun = means.patiently(
            execution.id,
            lambda: means.records.begin_attempt(
                execution.id,
                job=execution.jobs,
                worker=means.identity.id,
                site=means.identity.site,
                reuse=self._was_not_begun(execution),
                elsewhere=execution.worker is not None and not means.identity.has_outlived(execution.worker),
                started_at=started,
                # At once, so that it is known where a run is, and was when its host is lost.
                provenance=msgspec.structs.replace(surroundings(), queued_seconds=waited),
            ),
        )
        means.marks.take(begun)
        reached("compute.begun")
        return begun

    def _was_not_begun(self, execution: Execution) -> bool:
        """Whether worker or runner died before the workflow was called: then nothing of this attempt has run."""
        return self._is_unbegun(execution) and not self._never_is(execution)

    def _never_is(self, execution: Execution) -> bool:
        """Whether it is as with a file whose mere loading kills its process: that must not go on for ever."""
        return self._is_unbegun(execution) and self.means.marks.taken(execution) >= self.max_attempts

    def _is_unbegun(self, execution: Execution) -> bool:
        identity = self.means.identity
        ours = identity.has_outlived(execution.worker) and identity.site == execution.site
        is_running = execution.status is ExecutionStatus.RUNNING
        return ours and is_running and not self.means.marks.is_begun(execution)


class _Run:
    """One attempt on its way."""

    def __init__(self, job: Compute, execution: Execution) -> None:
        self._job = job
        self._means = job.means
        self._execution = execution
        self._id = execution.id
        self._directory = job.means.directory(execution)
        self._progress = Progress(self._save, execution.progress)
        self._called_off = threading.Event()
        self._over = threading.Event()
        self._why: Why | None = None

    def to_its_end(self) -> Outcome:
        """Run it; raises `RunnerDiedError` if it may be begun again."""
        execution, marks = self._execution, self._means.marks
        logger.info("%s runs: %s, attempt %d", self._id, execution.workflow_name, execution.attempt)
        # What an earlier attempt left is not this attempt's output; the runner refuses what cannot be removed.
        shutil.rmtree(self._directory, ignore_errors=True)
        ongoing = self._means.begin(self._directory, execution, afresh=True)
        try:
            ran = self._computed(ongoing)
        except ExecutionCancelledError as error:
            return self._interrupted(ongoing, error)
        except LeftError:
            # The workflow has ended; requests hang in a store that does not answer, and end by themselves.
            return self._interrupted(ongoing, ExecutionCancelledError(f"{self._id} was called off"))
        except StatusConflictError as conflict:
            logger.warning("%s was changed by somebody else while it ran: %s", self._id, conflict)
            return self._fenced(ongoing)
        except RunnerDiedError as error:
            ongoing.close()
            logger.error("%s, attempt %d: %s", self._id, execution.attempt, error)  # noqa: TRY400 - the sentence says it all
            error.provenance = self._with_waiting(error.provenance)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the record must say so and the worker must live
            ongoing.close()
            return self._failed(error)
        reached("compute.ended")
        marks.set(execution, ran)
        reached("compute.marked")
        self._means.kept.put(execution, ongoing)
        return Outcome(end="computed", attempt=execution.attempt, provenance=ran)

    def _computed(self, ongoing: Ongoing) -> Provenance | None:
        """Run it as long as it is not called off; afterwards it is known why, if it was."""
        watch = self._means.watch
        watched = watch.add(self._id, self._execution.attempt, self._call_off, ongoing.share)
        try:
            return unless_left(lambda: self._compute(ongoing, watched), self._called_off, GRACE_SECONDS + LEFT_SECONDS)
        finally:
            self._why = watch.remove(watched)

    def _compute(self, ongoing: Ongoing, watched: Watched) -> Provenance | None:
        execution, runner, watch = self._execution, self._job.runner, self._means.watch
        seconds = self._job.seconds_for(execution.workflow_name)
        try:
            request = RunRequest(
                execution_id=execution.id,
                workflow=execution.workflow_name,
                parameters=execution.parameters,
                output_directory=self._directory,
                sink=ongoing.sink(),
                begun=self._means.marks.begun(execution),
            )
            if self._called_off.is_set():
                raise ExecutionCancelledError(f"{self._id} was called off before its workflow began")
            with self._progress, ongoing.live(lambda: runner.pid, self._progress.publication):
                return self._with_waiting(runner.run(request, self._report, lambda: watch.limit(watched, seconds)))
        finally:
            self._over.set()

    def _call_off(self) -> None:
        """Interrupt the workflow; it may not have begun yet, and then is not to."""
        self._called_off.set()
        while not self._job.runner.cancel(GRACE_SECONDS, self._id) and not self._over.wait(_LOOK_SECONDS):
            pass

    def _interrupted(self, ongoing: Ongoing, error: ExecutionCancelledError) -> Outcome:
        attempt, ran = self._execution.attempt, self._with_waiting(error.provenance)
        if self._why is Why.CANCELLED:
            self._means.abandon(self._execution, ongoing)
            return Outcome(end="cancelled", attempt=attempt, provenance=ran)
        if self._why is Why.TIMED_OUT:
            ongoing.close()
            seconds = self._job.seconds_for(self._execution.workflow_name) or 0.0
            late = f"the workflow took longer than {seconds:g} seconds, which is what it may take"
            return Outcome(end="failed", attempt=attempt, error=late, provenance=ran)
        if self._means.drain.has_begun and self._why is None:
            self._means.put_back(self._execution)
            self._means.abandon(self._execution, ongoing)
            self._means.drain.freeze()
        return self._fenced(ongoing)

    def _fenced(self, ongoing: Ongoing) -> Outcome:
        """Leave it to who has it now; of an attempt that somebody has ended, nobody will read anything."""
        try:
            now = self._means.records.get(self._id)
        except WildcastServerError:
            now = None
        ended = now is not None and now.status.is_final and now.status is not ExecutionStatus.COMPLETED
        if now is not None and ended and now.attempt == self._execution.attempt:
            self._means.abandon(self._execution, ongoing)
        else:
            # Of another attempt, the prefix may be in use.
            ongoing.close()
        return STALE

    def _failed(self, error: Exception) -> Outcome:
        if isinstance(error, WorkflowFailedError | WorkflowLoadError) and error.traceback:
            logger.error("%s failed: %s\n%s", self._id, error, error.traceback)
        else:
            logger.error("%s failed: %s", self._id, error, exc_info=not isinstance(error, WildcastServerError))
        ran = self._with_waiting(error.provenance if isinstance(error, WorkflowError) else None)
        return Outcome(end="failed", attempt=self._execution.attempt, error=reason_of(error), provenance=ran)

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

    def _with_waiting(self, ran: Provenance | None) -> Provenance | None:
        """Add to what the runner knows how long the execution has waited."""
        begun = self._execution.provenance
        if ran is None or begun is None:
            return ran or begun
        return msgspec.structs.replace(ran, queued_seconds=begun.queued_seconds)
