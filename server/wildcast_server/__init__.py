"""The service that runs workflows and publishes what they wrote.

The names here are for the authors of workflows; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wildcast_server.domain.context import RunContext
    from wildcast_server.domain.functions import workflow
    from wildcast_server.domain.workflow import Workflow
    from wildcast_server.errors import ExecutionCancelledError

__all__ = ["ExecutionCancelledError", "RunContext", "Workflow", "workflow"]

_HOMES = {
    "ExecutionCancelledError": "wildcast_server.errors",
    "RunContext": "wildcast_server.domain.context",
    "Workflow": "wildcast_server.domain.workflow",
    "workflow": "wildcast_server.domain.functions",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
