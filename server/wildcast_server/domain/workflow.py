"""The base class of workflows."""

import inspect
import re
from abc import ABC, abstractmethod
from types import new_class
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict

from wildcast_server.domain.context import RunContext

RESERVED_NAMES = frozenset({"workflows"})
"""They have a meaning of their own in the API's paths."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class NoParameters(BaseModel):
    """What a workflow that takes nothing takes."""

    model_config = ConfigDict(extra="forbid", title="Parameters")


class NoConfig(BaseModel):
    """What a workflow that cannot be configured is configured with."""

    model_config = ConfigDict(extra="forbid", title="Config")


class Workflow(ABC):
    """A computation with a name and validated parameters; subclass it, or mark a function with `workflow`.

    An instance is constructed once a runner process and then runs many executions, one after the other: the
    constructor is where models are loaded.

    Attributes
    ----------
    name
        A letter or digit, then letters, digits, ``_``, ``.``, ``-``. ``workflows`` is reserved.
    description
        For the users; by default the first paragraph of the class's docstring.
    timeout_seconds
        How long a run may take; then it is ended, and has failed. None is any time. The server's settings go before.
    Parameters, Config
        Pydantic models of what a request gives and of what the server's configuration gives. A field that they do
        not have is an error, unless their own ``model_config`` says what to do with it.

    Parameters
    ----------
    config
        A `Config`.
    """

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    timeout_seconds: ClassVar[float | None] = None
    Parameters: ClassVar[type[BaseModel]] = NoParameters
    Config: ClassVar[type[BaseModel]] = NoConfig

    def __init__(self, config: Any) -> None:
        self.config = config

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for part in ("Parameters", "Config"):
            setattr(cls, part, _strict(cls, part))
        if "description" not in vars(cls) and cls.__doc__:
            cls.description = first_paragraph(cls.__doc__)

    @abstractmethod
    def run(self, parameters: Any, context: RunContext) -> None:
        """Compute, and write into ``context.output_directory``; an exception fails the execution.

        Parameters
        ----------
        parameters
            A `Parameters`.
        context
            The output directory, progress, the logger, cancellation.
        """


def check_name(name: str) -> str:
    """Return `name` if a workflow may have it; `ValueError` says why not."""
    if not name:
        raise ValueError("it has no name: set the class attribute `name`")
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"its name {name!r} is not a letter or digit followed by letters, digits, '_', '.' and '-'")
    if name in RESERVED_NAMES:
        raise ValueError(f"the name {name!r} is reserved")
    return name


def first_paragraph(docstring: str) -> str:
    """Return a docstring's first paragraph as one line."""
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())


def _strict(cls: type[Workflow], part: str) -> type[BaseModel]:
    model = getattr(cls, part)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"{cls.__qualname__}.{part} is not a pydantic model: derive it from pydantic.BaseModel")
    if "extra" in model.model_config:
        return model
    # A misspelt parameter that is dropped in silence is a wrong result.
    members = {name: getattr(model, name) for name in ("__module__", "__qualname__", "__doc__")}
    members["model_config"] = ConfigDict(extra="forbid")
    return cast("type[BaseModel]", new_class(model.__name__, (model,), {}, lambda body: body.update(members)))
