"""Making records and jobs agree again: nothing that was accepted is left without a job that leads to its end.

In the ordinary course they never differ, since each change of a record enqueues its job in the same transaction. They
do after an upgrade from a version without jobs, where a backup of one of them was restored, and where the engine has
given a job up.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.errors import StatusConflictError, UnknownExecutionError
from wildcast_server.jobs import JobQueue, JobState
from wildcast_server.records import Changes, Effects, Records
from wildcast_server.usecases.again import compute_again
from wildcast_server.usecases.queues import COMPUTE, compute_job, publish_job, publish_queue
from wildcast_server.usecases.workers import Heartbeats

logger = logging.getLogger(__name__)

BATCH = 500
"""How many jobs are asked for at once."""

MAX_JOBS = 50
"""After so many jobs that came to nothing, the execution is at fault."""

ABSENT_SECONDS = 600.0
"""How long what is to be published waits for a machine whose workers were stopped in order."""

End = Callable[[Execution, ExecutionStatus, str | None], tuple[Changes, Effects]]
"""Says what belongs to the end of an execution that comes to this status for this reason; see `Ending`."""


@dataclass(frozen=True)
class Reconcile:
    """Give a job to every unfinished execution that has none, or end it.

    Parameters
    ----------
    end
        Says what else changes when an execution ends, and what follows.
    """

    records: Records
    jobs: JobQueue
    end: End

    def __call__(self) -> None:
        """Look once; several may at the same time."""
        for execution in self._without_job(self.records.unfinished()):
            try:
                self._settle(execution)
            except (StatusConflictError, UnknownExecutionError):
                # Somebody else was faster.
                continue

    def _without_job(self, executions: Sequence[Execution]) -> Iterator[Execution]:
        for start in range(0, len(executions), BATCH):
            batch = executions[start : start + BATCH]
            states = self.jobs.states([execution.job_id for execution in batch])
            for execution in batch:
                if _is_over(states.get(execution.job_id)) and self._still(execution):
                    yield execution

    def _still(self, execution: Execution) -> bool:
        """Whether the record is as it was: what a job's handler changes, it changes before the job is done."""
        try:
            return self.records.get(execution.id).version == execution.version
        except UnknownExecutionError:
            return False

    def _settle(self, execution: Execution) -> None:
        if execution.cancel_requested_at is not None:
            self._end(execution, ExecutionStatus.CANCELLED, None)
        elif execution.jobs >= MAX_JOBS:
            self._end(execution, ExecutionStatus.FAILED, "the job engine gave it up")
        else:
            self._enqueue(execution)
            logger.warning("%s was %s without a job, and has one again", execution.id, execution.status)

    def _enqueue(self, execution: Execution) -> None:
        if execution.status in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING):
            # Who takes it finds out whether it has computed already, or may be begun again.
            self._give(execution, self._compute())
        elif execution.status is ExecutionStatus.PENDING_RESULTS and execution.site is not None:
            self._give(execution, self._publish())
        else:
            compute_again(self.records, self.jobs, execution)

    def _give(self, execution: Execution, effects: Effects) -> None:
        # Only to the job that was looked at: another one of these may have given one meanwhile.
        self.records.mark(execution.id, expected=execution.status, job=execution.jobs, new_job=True, effects=effects)

    def _compute(self) -> Effects:
        return Effects(within=lambda now, connection: self.jobs.enqueue(compute_job(now), connection))

    def _publish(self) -> Effects:
        return Effects(within=lambda now, connection: self.jobs.enqueue(publish_job(now), connection))

    def _end(self, execution: Execution, to: ExecutionStatus, reason: str | None) -> None:
        changes, effects = self.end(execution, to, None if reason is None else f"{reason}; it is not tried again")
        self.records.change(
            execution.id, expected=execution.status, to=to, job=execution.jobs, effects=effects, **changes
        )
        logger.warning("%s was %s without a job, and is %s", execution.id, execution.status, to)


@dataclass
class DeadSites:
    """Computes again what nobody publishes: its machine is dead, or no worker there is for that.

    Parameters
    ----------
    heartbeats
        Of the worker that this one is part of: it judges others only while its own heart beats.
    end
        As `Reconcile` has it.
    max_attempts
        As `Compute` has it.
    absent_seconds
        How long a machine is waited for whose workers ended in order.
    clock
        In seconds.
    """

    records: Records
    jobs: JobQueue
    heartbeats: Heartbeats
    end: End
    max_attempts: int
    absent_seconds: float = ABSENT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _absent_since: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> None:
        """Look once."""
        if not self.heartbeats.are_steady:
            return
        waiting = self._waiting()
        if not waiting:
            self._absent_since.clear()
            return
        workers = self.records.workers()
        # Who is late may only be so because the records were away: the reaper judges that, once, for all.
        living = [worker for worker in workers if worker.state is not WorkerState.LOST]
        if not any(COMPUTE in worker.queues for worker in living):
            return
        for execution in waiting:
            if execution.site is not None and self._is_gone(execution, execution.site, workers, living):
                self._take_over(execution)

    def _waiting(self) -> list[Execution]:
        return self.records.unfinished(ExecutionStatus.PENDING_RESULTS)

    def _is_gone(
        self, execution: Execution, site: str, workers: Sequence[WorkerRow], living: Sequence[WorkerRow]
    ) -> bool:
        queue = publish_queue(site)
        if any(queue in worker.queues for worker in living):
            self._absent_since.pop(site, None)
            return False
        if any(queue in worker.queues for worker in workers):
            return True
        if site not in self._absent_since:
            self._absent_since[site] = self.clock()
            logger.warning(
                "%s waits: %s; in %g seconds it is computed again",
                execution.id,
                _advice(execution),
                self.absent_seconds,
            )
        return self.clock() - self._absent_since[site] >= self.absent_seconds

    def _take_over(self, execution: Execution) -> None:
        try:
            if execution.may_begin_again(self.max_attempts):
                compute_again(self.records, self.jobs, execution)
                logger.warning("%s is computed again: %s", execution.id, _advice(execution))
            else:
                self._fail(execution)
        except (StatusConflictError, UnknownExecutionError):
            return
        # After the change: its job is not the current one any more, so whoever takes it leaves it alone.
        self.jobs.withdraw([execution.job_id])

    def _fail(self, execution: Execution) -> None:
        reason = f"{_advice(execution)}, and retry"
        changes, effects = self.end(execution, ExecutionStatus.FAILED, reason)
        # Its output may be whole: whoever publishes from there again does so on a retry.
        changes["failed_step"] = "publish"
        self.records.change(
            execution.id,
            expected=execution.status,
            to=ExecutionStatus.FAILED,
            attempt=execution.attempt,
            job=execution.jobs,
            effects=effects,
            **changes,
        )
        logger.error("%s failed: %s", execution.id, reason)


def _advice(execution: Execution) -> str:
    ran = execution.provenance
    where = f"the disk {execution.site}" if ran is None else f"{ran.host} (disk {execution.site})"
    return f"no worker publishes what was computed on {where}: start `wildcast-server worker --queue publish` there"


def _is_over(state: JobState | None) -> bool:
    return state in {None, JobState.DONE, JobState.GONE}
