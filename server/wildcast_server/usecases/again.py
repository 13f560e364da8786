"""Computing an execution once more, because what it has computed is lost or out of reach."""

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.jobs import JobQueue
from wildcast_server.records import Effects, Records
from wildcast_server.usecases.queues import compute_job


def compute_again(records: Records, jobs: JobQueue, execution: Execution) -> Execution:
    """Queue an active execution for another attempt, which counts as a death.

    Raises
    ------
    UnknownExecutionError, StatusConflictError
        If it has changed meanwhile.
    """
    return records.change(
        execution.id,
        expected=execution.status,
        to=ExecutionStatus.QUEUED,
        attempt=execution.attempt,
        job=execution.jobs,
        effects=Effects(within=lambda now, connection: jobs.enqueue(compute_job(now), connection)),
        new_job=True,
        new_attempt=execution.attempt + 1,
        deaths=execution.deaths + 1,
        started_at=None,
        progress=None,
        provenance=None,
        tries=0,
    )
