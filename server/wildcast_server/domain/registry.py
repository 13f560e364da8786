"""The registry: which workflows there are. Nothing enters it by itself."""

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wildcast_server.domain.functions import check_synchronous, from_function, is_marked
from wildcast_server.domain.workflow import Workflow, check_name
from wildcast_server.errors import SettingsError, UnknownWorkflowError, WorkflowLoadError


@dataclass(frozen=True)
class Entry:
    """A workflow and the file it came from, if it came from one."""

    workflow: type[Workflow]
    source: Path | None = None
    sha256: str | None = None
    """Of the file as it was loaded, in hexadecimal."""

    @property
    def place(self) -> str:
        """Where the workflow is defined, for a sentence."""
        return str(self.source or f"{self.workflow.__module__}.{self.workflow.__qualname__}")


class Registry:
    """Workflows by name."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def add(
        self,
        candidate: type[Workflow] | Callable[..., Any],
        source: Path | None = None,
        sha256: str | None = None,
    ) -> type[Workflow]:
        """Take a workflow class, or a function marked with `workflow`; return the class.

        Parameters
        ----------
        source, sha256
            The file it came from, and that file's hash.

        Raises
        ------
        WorkflowLoadError
            If it is neither, is abstract or asynchronous, has no usable name, has parameters that pydantic does not
            understand, or has another one's name: then the sentence names both places.
        """
        try:
            workflow = _as_class(candidate)
            _check(workflow)
        except Exception as error:
            # Pydantic raises errors of many kinds for type hints that it cannot use; its `message` has no link behind.
            reason = getattr(error, "message", error)
            raise WorkflowLoadError(f"{_label(candidate, source)} is not usable as a workflow: {reason}") from error
        entry = Entry(workflow, source, sha256)
        if (other := self._entries.get(workflow.name)) is not None:
            raise WorkflowLoadError(
                f"the workflow {workflow.name!r} is in {other.place} and in {entry.place}: rename one of them"
            )
        self._entries[workflow.name] = entry
        return workflow

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> type[Workflow]:
        """Return the workflow of that name; `UnknownWorkflowError` lists those that there are."""
        return self.entry(name).workflow

    def source(self, name: str) -> Path | None:
        """Return the file that the workflow came from."""
        return self.entry(name).source

    def entry(self, name: str) -> Entry:
        """Return the workflow with where it came from; raises as `get`."""
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownWorkflowError(f"there is no workflow {name!r}; there is {self._listed()}") from None

    def exposed(self, names: Collection[str] | None) -> "Registry":
        """Return a registry of `names` only; all of them for None.

        Raises
        ------
        SettingsError
            If there is no such workflow.
        """
        if names is None:
            names = self._entries
        missing = sorted(set(names) - set(self._entries))
        if missing:
            raise SettingsError(f"cannot expose {', '.join(missing)}: the workflows are {self._listed()}")
        view = Registry()
        view._entries = {name: self._entries[name] for name in names}
        return view

    def _listed(self) -> str:
        return ", ".join(self.names()) or "none at all"


def _as_class(candidate: Any) -> type[Workflow]:
    if is_marked(candidate):
        return from_function(candidate)
    if not (isinstance(candidate, type) and issubclass(candidate, Workflow)):
        raise TypeError("it is neither a subclass of Workflow nor a function marked with @workflow")
    if inspect.isabstract(candidate):
        raise TypeError("it has no `run`")
    check_synchronous(candidate.run, candidate.name)
    return candidate


def _check(workflow: type[Workflow]) -> None:
    check_name(workflow.name)
    if not isinstance(workflow.description, str):
        raise TypeError("its description is no text")
    workflow.description.encode()
    seconds = workflow.timeout_seconds
    if seconds is not None and (not isinstance(seconds, int | float) or not seconds > 0):
        raise TypeError("its timeout_seconds is no number of seconds")
    for model in (workflow.Parameters, workflow.Config):
        # A hint that names what its file defines further down is resolved now, or never.
        model.model_rebuild()


def _label(candidate: Any, source: Path | None) -> str:
    name = getattr(candidate, "__qualname__", repr(candidate))
    return f"{source}: {name}" if source else str(name)
