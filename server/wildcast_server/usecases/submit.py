"""Taking an execution on: check what was asked for, record it, and hand it to the engine."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wildcast.contract.naming import new_execution_id
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.parameters import to_json, validate
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs import JobEngine
from wildcast_server.records import Records


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
    """

    workflows: Registry
    records: Records
    jobs: JobEngine
    output_root: Path
    min_free_bytes: int

    def __call__(self, workflow_name: str, parameters: Mapping[str, Any]) -> tuple[Execution, int | None]:
        """Record an execution and queue it.

        Returns
        -------
        The execution, and how many are queued before it (None if it runs already).

        Raises
        ------
        UnknownWorkflowError
            If no exposed workflow has that name.
        InvalidParametersError
            If the workflow does not accept the parameters.
        ServiceUnavailableError
            If the disk is too full to run anything.
        """
        workflow = self.workflows.get(workflow_name)
        validated = validate(workflow, parameters)
        self._check_disk()
        execution = Execution(id=new_execution_id(), workflow_name=workflow_name, parameters=to_json(validated))
        self.records.insert(execution)
        self.jobs.enqueue(execution.id)
        return execution, self.records.queue_position(execution.id)

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self.output_root).free
        if free < self.min_free_bytes:
            raise ServiceUnavailableError(
                f"the server's disk has {free} bytes free, fewer than the {self.min_free_bytes} it keeps in reserve: "
                "try again later, or free some space"
            )
