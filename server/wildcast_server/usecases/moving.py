"""Acting on an execution that others act on as well."""

from collections.abc import Callable
from typing import TypeVar

from wildcast_server.domain.execution import Execution
from wildcast_server.errors import StatusConflictError

Outcome = TypeVar("Outcome")

TRIES = 10
"""More often than an execution can change between looking and acting, unless something is wrong."""


def while_it_moves(look: Callable[[], Execution], act: Callable[[Execution], Outcome]) -> Outcome:
    """Look an execution up and act on it; where it has moved on in between, look again and decide anew.

    Raises
    ------
    StatusConflictError
        If `act` refuses an execution that has not moved, or it moves all the time.
    """
    execution = look()
    for _ in range(TRIES):
        try:
            return act(execution)
        except StatusConflictError as error:
            conflict, before, execution = error, execution, look()
            if _state(before) == _state(execution):
                raise
    raise conflict


def _state(execution: Execution) -> tuple[object, ...]:
    return execution.status, execution.attempt, execution.jobs
