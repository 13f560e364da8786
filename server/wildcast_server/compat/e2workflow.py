"""Earth2Studio's workflows that are called with an IO backend; parameters and configuration follow from signatures."""

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, get_type_hints

from pydantic import BaseModel, Field, TypeAdapter, create_model

from wildcast_server.compat.models import WorkflowConfig, WorkflowParameters, WorkflowProgress
from wildcast_server.compat.output import BackendProgress, open_output
from wildcast_server.compat.workflow import Workflow

STEPS = ("num_steps", "nsteps")
"""Parameters of these names are bounded, as Earth2Studio's server does, where their hint says nothing of its own."""

MAX_STEPS = 1000


class AutoParameters(ABCMeta):
    """Gives a class its name, and makes its ``Config`` of ``__init__`` and its ``Parameters`` of ``__call__``."""

    RESERVED_PARAMS: ClassVar[set[str]] = {"io"}

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        """Make the class.

        Raises
        ------
        TypeError
            If a parameter of ``__init__`` or ``__call__`` has no type hint, or one that pydantic does not know.
        """
        made: Any = super().__new__(cls, name, bases, {"name": name, **namespace}, **options)
        made.Config = model_of(made.__init__, f"{name}Config", WorkflowConfig)
        made.Parameters = model_of(made.__call__, f"{name}Parameters", WorkflowParameters, cls.RESERVED_PARAMS)
        return made


def model_of(
    function: Callable[..., Any], name: str, base: type[BaseModel], reserved: Collection[str] = ()
) -> type[BaseModel]:
    """Make a pydantic model of a method's parameters, without the first (``self``), variadic and `reserved` ones."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    fields: dict[str, Any] = {
        parameter.name: _field(function, parameter)
        for parameter in parameters
        if parameter.kind not in variadic and parameter.name not in reserved
    }
    return create_model(name, __base__=base, __module__=function.__module__, **fields)


class Earth2Workflow(Workflow, metaclass=AutoParameters):
    """A workflow whose ``__call__`` computes, and writes to the IO backend that it is given as ``io``.

    A parameter ``output_format`` of ``__call__`` chooses between ``results.zarr`` (``zarr``, the default) and
    ``results.nc`` (``netcdf4``), and is passed on.
    """

    def __init__(self) -> None:
        self.execution_id: str | None = None

    @abstractmethod
    def __call__(self, io: Any) -> None:
        """Compute, and write to `io`."""

    def run(self, parameters: Any, execution_id: str) -> Any:
        """Open the output, and call it."""
        self.execution_id = execution_id
        values = self.validate_parameters(parameters).model_dump()
        self.update_progress(WorkflowProgress(progress="Opening the output"))
        with open_output(self.get_output_path(execution_id), values.get("output_format", "zarr")) as backend:
            self.update_progress(WorkflowProgress(progress="Computing"))
            self(io=BackendProgress(backend, self, execution_id), **values)
        self.update_progress(WorkflowProgress(progress="Computed"))
        return {"status": "success"}

    def update_progress(self, progress: WorkflowProgress) -> None:
        """Report progress; outside a service, where the workflow was called directly, do nothing."""
        if self._running is not None:
            self._running.report(progress)


def _field(function: Callable[..., Any], parameter: inspect.Parameter) -> tuple[Any, Any]:
    hint = _hint(function, parameter)
    if parameter.name in STEPS and hint is int:
        hint = Annotated[int, Field(ge=1, le=MAX_STEPS, description=f"Number of steps, 1 to {MAX_STEPS}")]
    return hint, ... if parameter.default is inspect.Parameter.empty else _as_requested(hint, parameter.default)


def _as_requested(hint: Any, default: Any) -> Any:
    """Return a default as it would be had a request given it: a tuple for a sequence is a list, text a path."""
    adapter = TypeAdapter(hint)
    try:
        return adapter.validate_json(adapter.dump_json(default, warnings=False))
    except ValueError:  # such as None where the hint has no None; only who leaves it out is told
        return default


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    place = f"{function.__qualname__}: the type hint of {parameter.name!r}"
    if parameter.annotation is inspect.Parameter.empty:
        raise TypeError(f"{place} is missing")
    # One by one: that of `io` may name what is imported for the type checker alone.
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        names = inspect.unwrap(function).__globals__
        return get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except NameError as error:
        raise TypeError(
            f"{place} cannot be resolved ({error}): import what it names outside `if TYPE_CHECKING`"
        ) from error
