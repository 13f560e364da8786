"""Making our workflow classes of Earth2Studio's."""

import inspect
from collections.abc import Callable
from types import new_class
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ValidationError, model_validator

from wildcast_server.compat.import_paths import import_paths
from wildcast_server.compat.reporting import Running
from wildcast_server.compat.workflow import Workflow
from wildcast_server.domain import workflow as domain
from wildcast_server.domain.context import RunContext
from wildcast_server.domain.functions import check_synchronous
from wildcast_server.domain.parameters import as_sentence, field_errors


class Adapter(domain.Workflow):
    """Holds one instance of an Earth2Studio workflow, and runs it with our run context."""

    adapted: ClassVar[type[Workflow]]

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        # Constructors and runs may import, too.
        with import_paths():
            self._instance = construct(self.adapted, config)

    def run(self, parameters: BaseModel, context: RunContext) -> None:
        """Run it; what it returns is dropped, as Earth2Studio's server does."""
        self._instance._running = Running(context)  # noqa: SLF001 - our own base class
        try:
            with import_paths():
                self._instance.run(parameters.model_dump(), context.execution_id)
        finally:
            self._instance._running = None  # noqa: SLF001 - as above


def adapt(workflow: type[Workflow]) -> type[domain.Workflow]:
    """Return our class for one of Earth2Studio's.

    Raises
    ------
    TypeError
        If it cannot be run: it is abstract or asynchronous, or its models are none of pydantic's.
    """
    if inspect.isabstract(workflow):
        raise TypeError(f"it has no {' and no '.join(sorted(workflow.__abstractmethods__))}")
    for function in (workflow.run, workflow.__call__):
        check_synchronous(function, workflow.name)
    for part in ("Parameters", "Config"):
        model = getattr(workflow, part)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"its {part} is not a pydantic model")
    members = {
        "__module__": workflow.__module__,
        "__qualname__": workflow.__qualname__,
        "__doc__": workflow.__doc__,
        "adapted": workflow,
        "name": workflow.name,
        "description": workflow.description or domain.first_paragraph(vars(workflow).get("__doc__") or ""),
        "Parameters": checked_parameters(workflow),
        "Config": workflow.Config,
    }
    made = new_class(workflow.__name__, (Adapter,), {}, lambda body: body.update(members))
    return cast("type[domain.Workflow]", made)


def construct(workflow: type[Workflow], config: BaseModel) -> Workflow:
    """Construct an instance, with what was configured as keyword arguments as far as its constructor takes them."""
    signature = inspect.signature(workflow)
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    given = {name: getattr(config, name) for name in type(config).model_fields if name in config.model_fields_set}
    instance = workflow(**{name: value for name, value in given.items() if takes_all or name in signature.parameters})
    if not hasattr(instance, "config"):
        instance.config = config  # type: ignore[attr-defined]  # described in the class's docstring
    return instance


def checked_parameters(workflow: type[Workflow]) -> type[BaseModel]:
    """Return a model that validates as ``Parameters`` and then as ``validate_parameters``, and is what that returns."""
    model = workflow.Parameters
    if inspect.isfunction(inspect.getattr_static(workflow, "validate_parameters")):
        return model  # It needs an instance, which the service that takes requests does not have; `run` calls it.

    def check(_cls: Any, values: Any, validate_fields: Callable[[Any], Any]) -> BaseModel:
        validate_fields(values)
        return _validated(workflow, values)

    members: dict[str, Any] = {name: getattr(model, name) for name in ("__module__", "__qualname__", "__doc__")}
    members["wildcast_check"] = model_validator(mode="wrap")(cast("Any", classmethod(check)))
    return cast("type[BaseModel]", new_class(model.__name__, (model,), {}, lambda body: body.update(members)))


def _validated(workflow: type[Workflow], values: Any) -> BaseModel:
    try:
        parameters = workflow.validate_parameters(values)
    except ValidationError as error:
        raise ValueError(as_sentence(field_errors(error))) from None
    except (ValueError, AssertionError):
        raise
    except Exception as error:
        raise ValueError(
            f"{workflow.__qualname__}.validate_parameters raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(parameters, BaseModel):
        raise ValueError(  # noqa: TRY004 - what pydantic turns into an answer
            f"{workflow.__qualname__}.validate_parameters returned a {type(parameters).__name__} and no parameters"
        )
    return parameters
