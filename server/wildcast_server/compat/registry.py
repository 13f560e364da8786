"""The registry that Earth2Studio's workflow files enter their classes into."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, overload

from wildcast_server.compat.workflow import Workflow


class WorkflowRegistry:
    """The classes that a file registers; each file that is loaded has its own."""

    def __init__(self) -> None:
        self._workflows: dict[str, type[Workflow]] = {}

    @classmethod
    def instance(cls) -> "WorkflowRegistry":
        """Return the registry of the file that is being loaded; otherwise one that nobody reads."""
        return _CURRENT.get() or cls()

    @overload
    def register(self, workflow_class: type[Workflow]) -> type[Workflow]: ...

    @overload
    def register(self) -> Callable[[type[Workflow]], type[Workflow]]: ...

    def register(self, workflow_class: Any = None) -> Any:
        """Take a class, as a decorator with or without parentheses.

        Raises
        ------
        TypeError
            If it is not a subclass of `Workflow`.
        ValueError
            If another class of this file has its name.
        """
        if workflow_class is None:
            return self.register
        if not (isinstance(workflow_class, type) and issubclass(workflow_class, Workflow)):
            raise TypeError(f"{workflow_class!r} cannot be registered: it is not a subclass of Workflow")
        if self._workflows.setdefault(workflow_class.name, workflow_class) is not workflow_class:
            raise ValueError(f"the workflow {workflow_class.name!r} is registered twice")
        return workflow_class

    def get_workflow_class(self, name: str) -> type[Workflow] | None:
        """Return the class of that name, if it is registered here."""
        return self._workflows.get(name)

    def list_workflows(self) -> dict[str, str]:
        """Return the descriptions of the registered classes, by name."""
        return {name: workflow.description for name, workflow in self._workflows.items()}

    def classes(self) -> list[type[Workflow]]:
        """Return the registered classes, in their order."""
        return list(self._workflows.values())


_CURRENT: ContextVar[WorkflowRegistry | None] = ContextVar("registry of the file that is being loaded", default=None)


@contextmanager
def loading() -> Iterator[WorkflowRegistry]:
    """Make a fresh registry the one that `WorkflowRegistry.instance` returns."""
    registry = WorkflowRegistry()
    token = _CURRENT.set(registry)
    try:
        yield registry
    finally:
        _CURRENT.reset(token)
