"""Plain functions as workflows: the signature says which parameters there are."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace, new_class
from typing import Any, TypeVar, cast, get_type_hints, overload

from pydantic import BaseModel, create_model

from wildcast_server.domain.context import RunContext
from wildcast_server.domain.workflow import NoParameters, Workflow, first_paragraph

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__wildcast_workflow__"


@dataclass(frozen=True)
class Mark:
    """What `workflow` leaves on a function."""

    name: str
    description: str
    timeout_seconds: float | None


@overload
def workflow(function: F, /) -> F: ...


@overload
def workflow(
    *, name: str | None = None, description: str | None = None, timeout_seconds: float | None = None
) -> Callable[[F], F]: ...


def workflow(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
) -> F | Callable[[F], F]:
    """Mark a function as a workflow; it stays an ordinary function, and nothing is registered.

    Each parameter needs a type hint; ``Annotated`` with pydantic's ``Field`` and defaults count. A parameter annotated
    `RunContext`, or named ``context`` without another annotation, is given the run context.

    Parameters
    ----------
    name
        The workflow's name; by default the function's.
    description
        By default the first paragraph of the function's docstring.
    timeout_seconds
        As `Workflow.timeout_seconds`.

    Raises
    ------
    TypeError
        For what is no plain function, such as a class, or what another decorator has made of a function.
    """

    def mark(marked: F) -> F:
        if not inspect.isfunction(marked):
            raise TypeError(f"@workflow marks plain functions, and {marked!r} is none: put it right above a `def`")
        text = description if description is not None else first_paragraph(marked.__doc__ or "")
        setattr(marked, MARK, Mark(name or marked.__name__, text, timeout_seconds))
        return marked

    return mark if function is None else mark(function)


def is_marked(value: Any) -> bool:
    """Whether `value` is a function that `workflow` has marked."""
    return inspect.isfunction(value) and isinstance(getattr(value, MARK, None), Mark)


def from_function(function: Callable[..., Any]) -> type[Workflow]:
    """Build the workflow class of a marked function.

    Raises
    ------
    TypeError
        If the function is asynchronous or a generator, or a parameter has no type hint that can be used, is variadic
        or positional only, or begins with an underscore.
    """
    mark: Mark = getattr(function, MARK)
    check_synchronous(function, mark.name)
    fields: dict[str, Any] = {}
    contexts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        _check_kind(function, parameter)
        if _takes_context(function, parameter):
            contexts.append(parameter.name)
        else:
            fields[parameter.name] = _field(function, parameter)
    model = create_model("Parameters", __base__=NoParameters, __module__=function.__module__, **fields)

    def run(_self: Workflow, parameters: BaseModel, context: RunContext) -> None:
        values = {name: getattr(parameters, name) for name in fields}
        function(**values, **dict.fromkeys(contexts, context))

    members = {
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "name": mark.name,
        "description": mark.description,
        "timeout_seconds": mark.timeout_seconds,
        "Parameters": model,
        "run": run,
    }
    return cast("type[Workflow]", new_class(function.__name__, (Workflow,), {}, lambda body: body.update(members)))


def check_synchronous(function: Callable[..., Any], name: str) -> None:
    """Raise `TypeError` for a function whose call alone would compute nothing."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(function) for is_kind in kinds):
        raise TypeError(f"the workflow {name!r} is asynchronous or a generator: make it a plain function")


def _takes_context(function: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    if parameter.annotation is inspect.Parameter.empty:
        return parameter.name == "context"
    if parameter.name == "context" and parameter.annotation in ("RunContext", "wildcast_server.RunContext"):
        return True  # its import may be for the type checker alone, so that the hint cannot be resolved
    return _hint(function, parameter) is RunContext


def _check_kind(function: Callable[..., Any], parameter: inspect.Parameter) -> None:
    kind = parameter.kind
    if kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        raise TypeError(f"{function.__name__}: a workflow's parameter cannot be {kind.description} ({parameter.name})")
    if parameter.name.startswith("_"):
        raise TypeError(f"{function.__name__}: a workflow's parameter cannot begin with '_' ({parameter.name})")


def _field(function: Callable[..., Any], parameter: inspect.Parameter) -> tuple[Any, Any]:
    if parameter.annotation is inspect.Parameter.empty:
        raise TypeError(f"{function.__name__}: the parameter {parameter.name!r} needs a type hint")
    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
    return _hint(function, parameter), default


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        names = inspect.unwrap(function).__globals__
        return get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except NameError as error:
        raise TypeError(
            f"{function.__name__}: the type hint of {parameter.name!r} cannot be resolved ({error}): "
            "import what it names outside `if TYPE_CHECKING`"
        ) from error
    except Exception as error:
        raise TypeError(
            f"{function.__name__}: the type hint of {parameter.name!r} cannot be evaluated: {error}"
        ) from error
