"""Cancelling an execution: at once while it waits, by its worker once that has it."""

import logging
from dataclasses import dataclass

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import ServiceUnavailableError, StatusConflictError
from wildcast_server.jobs import JobQueue, JobState
from wildcast_server.records import Records
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.moving import while_it_moves

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cancel:
    """Cancel executions that have not ended."""

    lookup: Lookup
    records: Records
    jobs: JobQueue
    ending: Ending

    def __call__(self, workflow_name: str, execution_id: str) -> Execution:
        """Cancel it, or ask its worker to; that of one that is cancelled already changes nothing.

        Returns
        -------
        The execution, which is `cancelled` now, or has a `cancel_requested_at` and will be in some seconds.

        Raises
        ------
        UnknownExecutionError
            If the workflow has no such execution.
        StatusConflictError
            If it has ended in another way.
        """
        return while_it_moves(lambda: self.lookup.execution(workflow_name, execution_id), self._cancel)

    def _cancel(self, execution: Execution) -> Execution:
        match execution.status:
            case ExecutionStatus.CANCELLED:
                return execution
            case ExecutionStatus.QUEUED:
                return self._end(execution)
            case ExecutionStatus.RUNNING | ExecutionStatus.PENDING_RESULTS:
                if self._waits(execution):
                    return self._end(execution)
                return self.records.mark(execution.id, expected=execution.status, cancel=True)
            case status:
                raise StatusConflictError(f"execution {execution.id} is {status}, and cannot be cancelled any more")

    def _waits(self, execution: Execution) -> bool:
        """Whether nobody works on it now, as on what is published behind others, or was given back."""
        try:
            return self.jobs.states([execution.job_id])[execution.job_id] is JobState.WAITING
        except ServiceUnavailableError:
            return False

    def _end(self, execution: Execution) -> Execution:
        changes, effects = self.ending(execution, ExecutionStatus.CANCELLED)
        cancelled = self.records.change(
            execution.id,
            expected=execution.status,
            to=ExecutionStatus.CANCELLED,
            attempt=execution.attempt,
            job=execution.jobs,
            effects=effects,
            **changes,
        )
        try:
            # Only now: within the transaction it would wait for that to end.
            self.jobs.withdraw([execution.job_id])
        except ServiceUnavailableError as error:
            logger.warning("%s is cancelled; its job stays, and will find nothing to do: %s", execution.id, error)
        logger.info("%s cancelled while it waited", execution.id)
        return cancelled
