"""Trying a failed execution again, from the step that failed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.outbox import NewRemoval
from wildcast_server.domain.worker import WorkerState
from wildcast_server.errors import StatusConflictError
from wildcast_server.jobs import JobQueue
from wildcast_server.records import UNLIMITED, Changes, Effects, Limits, Records
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.moving import while_it_moves
from wildcast_server.usecases.queues import COMPUTE, compute_job, publish_job, publish_queue

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retry:
    """Put failed executions back.

    One whose publication failed is published again, and not computed: what it wrote is kept for that. Only where the
    machine is gone that has its output, while another one works, is it computed anew.
    """

    lookup: Lookup
    records: Records
    jobs: JobQueue
    ending: Ending
    limits: Limits = UNLIMITED
    """As for submissions: what is tried again waits like everything else."""

    def __call__(self, workflow_name: str, execution_id: str) -> Execution:
        """Put it back; one that waits or runs is as good as put back, and stays as it is.

        Raises
        ------
        UnknownExecutionError
            If the workflow has no such execution.
        StatusConflictError
            If it has ended without failing: only a new submission runs it again.
        QueueFullError
            If as many executions wait as may wait.
        """
        return while_it_moves(lambda: self.lookup.execution(workflow_name, execution_id), self._retry)

    def _retry(self, execution: Execution) -> Execution:
        if not execution.status.is_final:
            return execution
        if execution.status is not ExecutionStatus.FAILED:
            raise StatusConflictError(
                f"execution {execution.id} is {execution.status}, and only one that failed is tried again: "
                "submit the request anew"
            )
        retried = self._publish_again(execution) if self._is_kept(execution) else self._compute_again(execution)
        logger.info("%s failed, and is tried again: %s", retried.id, retried.status)
        return retried

    def _is_kept(self, execution: Execution) -> bool:
        """Whether what it computed can be published: the machine that has it works, or no other one does."""
        if execution.failed_step != "publish" or execution.site is None:
            return False
        up = [worker for worker in self.records.workers() if worker.state is not WorkerState.LOST]
        if any(publish_queue(execution.site) in worker.queues for worker in up):
            return True
        return not any(COMPUTE in worker.queues for worker in up)

    def _publish_again(self, execution: Execution) -> Execution:
        return self._change(execution, ExecutionStatus.PENDING_RESULTS, {})

    def _compute_again(self, execution: Execution) -> Execution:
        changes: Changes = {
            "new_attempt": execution.attempt + 1,
            # Elsewhere: what is left of the attempts before may be removed while this one writes.
            "place": execution.place + 1,
            "started_at": None,
            "progress": None,
            "provenance": None,
            "worker": None,
            "site": None,
        }
        return self._change(execution, ExecutionStatus.QUEUED, changes, self.ending.removals(execution, "retried"))

    def _change(
        self, execution: Execution, to: ExecutionStatus, changes: Changes, removals: Sequence[NewRemoval] = ()
    ) -> Execution:
        def enqueue(changed: Execution, connection: Any) -> None:
            job = publish_job if to is ExecutionStatus.PENDING_RESULTS else compute_job
            self.jobs.enqueue(job(changed), connection)

        afresh: Changes = {
            "new_job": True,
            "deaths": 0,
            "tries": 0,
            "failed_step": None,
            "error_message": None,
            "ended_at": None,
            "expires_at": None,
            "cancel_requested_at": None,
            **changes,
        }
        return self.records.change(
            execution.id,
            expected=ExecutionStatus.FAILED,
            to=to,
            attempt=execution.attempt,
            job=execution.jobs,
            limits=self.limits,
            effects=Effects(within=enqueue, removals=removals),
            **afresh,
        )
