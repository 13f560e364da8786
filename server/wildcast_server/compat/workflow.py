"""Earth2Studio's base class of workflows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from wildcast_server.compat.models import WorkflowConfig, WorkflowParameters
from wildcast_server.compat.reporting import Running


class Workflow(ABC):
    """A computation, constructed once and run for one execution after the other.

    Attributes
    ----------
    name, description
        As requests and users see it.
    Parameters, Config
        Pydantic models of what a request gives, and of the constructor's keyword arguments, which the server's
        configuration gives.
    config
        The `Config` that the instance was constructed with, unless the class itself has such an attribute.
    """

    name: str = ""
    description: str = ""
    Parameters: ClassVar[type[BaseModel]] = WorkflowParameters
    Config: ClassVar[type[BaseModel]] = WorkflowConfig

    _running: Running | None = None  # on the class: a subclass may forget to call our constructor

    @classmethod
    def validate_parameters(cls, parameters: Any) -> BaseModel:
        """Make a `Parameters` of what a request holds; `ValueError` says what is wrong."""
        values = parameters.model_dump() if isinstance(parameters, BaseModel) else parameters
        return cls.Parameters.model_validate(values)

    @abstractmethod
    def run(self, parameters: Any, execution_id: str) -> Any:
        """Compute, and write below `get_output_path`; an exception fails the execution.

        Parameters
        ----------
        parameters
            The values of a valid `Parameters`, as a dict.
        """

    def get_output_path(self, execution_id: str) -> Path:
        """Return the output directory of the execution, which exists."""
        directory = self._run_of(execution_id).context.output_directory
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def update_execution_data(self, execution_id: str, updates: Mapping[str, Any] | BaseModel) -> None:
        """Report on the execution.

        Parameters
        ----------
        updates
            A `WorkflowProgress`, whose fields are added to the progress; or a mapping of an execution's fields, such
            as ``{"metadata": {…}}``. What the system itself keeps, such as ``status``, is not changed.
        """
        self._run_of(execution_id).report(updates)

    def _run_of(self, execution_id: str) -> Running:
        if self._running is None or self._running.context.execution_id != execution_id:
            raise RuntimeError(f"{self.name} does not run {execution_id!r}: ask only within `run`, and for its own id")
        return self._running
