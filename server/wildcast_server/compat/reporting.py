"""What a run reports, in the words of Earth2Studio's workflows, handed to the run context."""

import threading
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from wildcast_server.domain.context import RunContext

KEPT_BY_THE_SYSTEM = frozenset(
    {"workflow_name", "execution_id", "status", "position", "start_time", "end_time", "execution_time_seconds"}
)
"""Fields of an execution that a workflow may name in an update, but not change."""


class Running:
    """A run that goes on, and what was reported of it so far."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()

    def report(self, updates: Mapping[str, Any] | BaseModel) -> None:
        """Add to what was reported, all of which readers see as the execution's progress.

        Raises
        ------
        ExecutionCancelledError
            If the execution was told to stop; these workflows cannot ask, and between two steps is a good place.
        TypeError, ValueError
            If a value has no form in JSON (times, paths, models, NumPy's and PyTorch's numbers have one), or as
            `RunContext.progress`.
        """
        self.context.check_cancelled()
        with self._lock:
            known = self._known | fields_of(updates)
            steps = {name: known[name] for name in ("current_step", "total_steps") if name in known}
            own = {name: value for name, value in known.items() if name not in ("progress", *steps)}
            # The words that were given last stay, where the context would put a fraction.
            self.context.progress(**steps, progress=known.get("progress"), **own)
            self._known = known


def fields_of(updates: Mapping[str, Any] | BaseModel) -> dict[str, Any]:
    """Return the fields of progress that an update sets, as JSON values.

    A mapping updates the execution: its ``progress`` is one, and what else it names (``metadata``, …) is kept beside
    that; what the system keeps itself is left out.
    """
    if isinstance(updates, BaseModel):
        return as_json(updates.model_dump(exclude_none=True))
    own = {name: value for name, value in updates.items() if name not in {*KEPT_BY_THE_SYSTEM, "progress"}}
    nested = updates.get("progress")
    if nested is None:
        return as_json(own)
    if isinstance(nested, Mapping | BaseModel):
        return as_json(own) | as_json(dict(nested), drop_none=True)
    return as_json(own | {"progress": nested})


def as_json(values: Mapping[str, Any], *, drop_none: bool = False) -> dict[str, Any]:
    """Return `values` as JSON values: times in ISO 8601, durations in seconds, NaN as null."""
    kept = {name: value for name, value in values.items() if not (drop_none and value is None)}
    converted: dict[str, Any] = to_jsonable_python(
        kept, timedelta_mode="float", inf_nan_mode="null", fallback=_array_as_list
    )
    return converted


def _array_as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    kind = type(value).__name__
    raise TypeError(f"a value of the type {kind!r} cannot be reported: give numbers, text, times, lists, mappings")
