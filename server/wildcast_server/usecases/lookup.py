"""Looking executions up: which one is meant, and where it stands."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from wildcast.contract.naming import is_execution_id
from wildcast.contract.wire import Deliveries, DeliveryStatus, StatusAnswer
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.outbox import DeliveryLog
from wildcast_server.errors import UnknownExecutionError
from wildcast_server.records import Records, Standing


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
        return self._standing(workflow_name, execution_id).execution

    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        """Look many up at once, by id alone: `pick` says whether one is what its caller means."""
        # What cannot be an id is not worth a query, and may be no text that every database takes.
        named = {name for name in execution_ids if is_execution_id(name)}
        return self.records.standings(named) if named else {}

    def status(self, workflow_name: str, execution_id: str) -> StatusAnswer:
        """Say where the execution stands; raises as `execution` does."""
        return status_of(self._standing(workflow_name, execution_id))

    def deliveries(self, workflow_name: str, execution_id: str) -> Deliveries:
        """Say what its webhook was told; raises as `execution` does."""
        found = self.records.deliveries(self.execution(workflow_name, execution_id).id)
        return Deliveries(deliveries=tuple(map(_delivery_of, found)))

    def _standing(self, workflow_name: str, execution_id: str) -> Standing:
        return pick(self.standings([execution_id]).get(execution_id), workflow_name, execution_id)


def pick(found: Standing | None, workflow_name: str, execution_id: str) -> Standing:
    """Return what was found under an id if it is this workflow's.

    Raises
    ------
    UnknownExecutionError
        If nothing was found, or it is another workflow's.
    """
    if found is None or found.execution.workflow_name != workflow_name:
        raise unknown_to(workflow_name, execution_id)
    return found


def _delivery_of(log: DeliveryLog) -> DeliveryStatus:
    return DeliveryStatus(
        id=log.id,
        event=log.event,
        created_at=log.created_at,
        tries=log.tries,
        delivered_at=log.delivered_at,
        next_try_at=log.next_try_at,
        last_status=log.last_status,
        last_error=log.last_error,
    )


def unknown_to(workflow_name: str, execution_id: str) -> UnknownExecutionError:
    """Say that a workflow has no such execution."""
    return UnknownExecutionError(f"the workflow {workflow_name!r} has no execution {execution_id!r}")


def status_of(standing: Standing) -> StatusAnswer:
    """Put together the answer to a status request."""
    execution, position = standing
    return StatusAnswer(
        workflow_name=execution.workflow_name,
        execution_id=execution.id,
        status=execution.status,
        position=position,
        progress=whole_progress(execution.progress),
        start_time=execution.started_at,
        end_time=execution.ended_at,
        execution_time_seconds=execution.seconds,
        error_message=execution.error_message,
        metadata={
            **own_metadata(execution.progress),
            # Last: what a workflow reports does not replace what is recorded of it.
            "parameters": execution.parameters,
            "attempt": execution.attempt,
            "created_at": execution.created_at,
            "provenance": execution.provenance,
            "labels": execution.labels,
            "failed_step": execution.failed_step,
            "cancel_requested_at": execution.cancel_requested_at,
            "retention_seconds": execution.retention_seconds,
            "expires_at": execution.expires_at,
            "pinned": execution.pinned,
        },
    )


def whole_progress(progress: dict[str, Any] | None) -> dict[str, Any] | None:
    """Add the members that every client may expect; a workflow's own stay."""
    if progress is None:
        return None
    return {"progress": None, "current_step": None, "total_steps": None, **progress}


def own_metadata(progress: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a workflow reported as ``metadata``, which readers of Earth2Studio's answers look for beside it."""
    found = (progress or {}).get("metadata")
    return found if isinstance(found, dict) else {}
