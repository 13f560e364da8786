"""Looking an execution up: which one is meant, and where it stands."""

from dataclasses import dataclass
from typing import Any

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StatusAnswer
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import UnknownExecutionError
from wildcast_server.records import Records


@dataclass(frozen=True)
class Lookup:
    """Find executions for callers who know a workflow's name and an id."""

    records: Records

    def execution(self, workflow_name: str, execution_id: str) -> Execution:
        """Return the execution.

        Raises
        ------
        UnknownExecutionError
            If there is none of that id, or it is another workflow's.
        """
        execution = self.records.get(execution_id)
        if execution.workflow_name != workflow_name:
            raise UnknownExecutionError(f"the workflow {workflow_name!r} has no execution {execution_id!r}")
        return execution

    def status(self, workflow_name: str, execution_id: str) -> StatusAnswer:
        """Say where the execution stands."""
        execution = self.execution(workflow_name, execution_id)
        queued = execution.status is ExecutionStatus.QUEUED
        return StatusAnswer(
            workflow_name=execution.workflow_name,
            execution_id=execution.id,
            status=execution.status,
            position=self.records.queue_position(execution.id) if queued else None,
            progress=whole_progress(execution.progress),
            start_time=execution.started_at,
            end_time=execution.ended_at,
            execution_time_seconds=execution.seconds,
            error_message=execution.error_message,
            metadata={"attempt": execution.attempt, "created_at": execution.created_at},
        )


def whole_progress(progress: dict[str, Any] | None) -> dict[str, Any] | None:
    """Add the members that every client may expect; a workflow's own stay."""
    if progress is None:
        return None
    return {"progress": None, "current_step": None, "total_steps": None, **progress}
