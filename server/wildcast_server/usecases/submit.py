"""Taking an execution on: check what was asked for, record it, and hand it to the engine."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wildcast.contract.naming import new_execution_id
from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.parameters import to_json, validate
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs import JobEngine
from wildcast_server.records import Records

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submit:
    """Accept a request for a workflow.

    Parameters
    ----------
    workflows
        The exposed ones.
    output_root
        Where output directories are made.
    min_free_bytes
        Below this much free space on the disk of `output_root`, nothing is accepted.
    max_queued
        How many executions may wait; None for any number.
    """

    workflows: Registry
    records: Records
    jobs: JobEngine
    output_root: Path
    min_free_bytes: int
    max_queued: int | None = None

    def __call__(self, workflow_name: str, parameters: Mapping[str, Any]) -> tuple[Execution, int]:
        """Record an execution and queue it.

        Returns
        -------
        The execution as it was accepted, and how many were queued before it.

        Raises
        ------
        UnknownWorkflowError
            If no exposed workflow has that name.
        InvalidParametersError
            If the workflow does not accept the parameters.
        QueueFullError
            If `max_queued` executions wait already.
        ServiceUnavailableError
            If the disk is too full to run anything, or the engine takes nothing.
        """
        workflow = self.workflows.get(workflow_name)
        validated = validate(workflow, parameters)
        self._check_disk()
        execution = Execution(id=new_execution_id(), workflow_name=workflow_name, parameters=to_json(validated))
        # Both at once: between recording and enqueueing nothing may fail, or it would run although it was refused.
        position = self.records.insert(execution, max_queued=self.max_queued)
        self._enqueue(execution)
        logger.info("%s accepted: %s, %d before it", execution.id, workflow_name, position)
        return execution, position

    def _enqueue(self, execution: Execution) -> None:
        try:
            self.jobs.enqueue(execution.id)
        except ServiceUnavailableError as error:
            # Its caller is told that it was not accepted, so no later start may run it.
            self.records.change(
                execution.id,
                expected=ExecutionStatus.QUEUED,
                to=ExecutionStatus.FAILED,
                ended_at=utc_now(),
                error_message=f"it was not accepted: {error}",
            )
            raise

    def _check_disk(self) -> None:
        try:
            free = shutil.disk_usage(self.output_root).free
        except OSError as error:
            raise ServiceUnavailableError(
                f"the server's output directory cannot be looked at ({error.strerror}): its operator has to mend that"
            ) from error
        if free < self.min_free_bytes:
            raise ServiceUnavailableError(
                f"the server's disk has {free} bytes free, fewer than the {self.min_free_bytes} it keeps in reserve: "
                "try again later, or free some space"
            )
