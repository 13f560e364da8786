"""What both clients do, as flows."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from wildcast import _calls
from wildcast._api import Api, AsyncApi
from wildcast._asking import asked
from wildcast._calls import Call, Target
from wildcast._encode import to_json
from wildcast._errors import (
    ApiError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    UnknownExecutionError,
    UnsupportedError,
)
from wildcast._flows import Flow, Give, T
from wildcast._retry import Retry
from wildcast._seconds import seconds_of
from wildcast.contract.wire import StatusAnswer, Submitted

if TYPE_CHECKING:
    from wildcast._execution_core import ExecutionCore

A = TypeVar("A", bound=Api | AsyncApi)
E = TypeVar("E", bound="ExecutionCore[Any]")


class ClientCore(Generic[A, E]):
    """A server, and the flows of what can be asked of it.

    Parameters
    ----------
    api
        The server's API.
    make
        Makes an execution of it.
    read_timeout, read_retry
        As `Client` has them.
    """

    def __init__(self, api: A, make: Callable[..., E], read_timeout: float, read_retry: Retry | None) -> None:
        self._api: A = api
        silence = seconds_of(read_timeout, "read_timeout", "read_timeout=60")
        self._make = partial(make, reading={"timeout": silence, "retry": read_retry})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._api.base_url!r})"

    def _execution(self, answer: StatusAnswer) -> E:
        return self._make(self._api, answer.workflow_name, answer.execution_id, answer)

    def _submitting(
        self, workflow: str, parameters: Mapping[str, Any], extras: Mapping[str, Any], idempotency_key: str | None
    ) -> Flow[E]:
        body = {"parameters": to_json(parameters), **extras}
        try:
            submitted: Submitted = yield from asked(self._api, _calls.submit(workflow, body, idempotency_key))
        except (ServerUnavailableError, UnexpectedAnswerError) as error:
            if idempotency_key is None and _may_have_arrived(error):
                error.args = (f"{error} It may have been accepted: {ServerUnavailableError.after_submission}.",)
            raise
        return self._make(self._api, workflow, submitted.execution_id)

    def _acting(self, act: Callable[[Target], Call[T]], workflow: str | None, execution_id: str | None) -> Flow[T]:
        """Make a call about an execution; it is looked for if its workflow is not named."""
        workflow, execution_id = named(workflow, execution_id)
        if workflow is None:
            workflow = (yield from self._finding(execution_id)).workflow
        return (yield from asked(self._api, act(Target(workflow, execution_id))))

    def _getting(self, workflow: str | None, execution_id: str | None) -> Flow[E]:
        workflow, execution_id = named(workflow, execution_id)
        if workflow is None:
            return (yield from self._finding(execution_id))
        answer = yield from asked(self._api, _calls.status(Target(workflow, execution_id)))
        return self._make(self._api, workflow, execution_id, answer)

    def _finding(self, execution_id: str) -> Flow[E]:
        filters = _calls.Filters(ids=(execution_id,))
        try:
            page = yield from asked(self._api, _calls.executions(None, filters, limit=1))
        except UnsupportedError as error:
            raise _cannot_find(execution_id, error.status) from error
        for answer in page.executions:
            if answer.execution_id != execution_id:
                # It knows lists, and not this filter.
                raise _cannot_find(execution_id, None)
            return self._execution(answer)
        raise UnknownExecutionError(UnknownExecutionError.advised(f"there is no execution {execution_id!r}"))

    def _listing(self, workflow: str | None, filters: _calls.Filters, limit: int | None) -> Flow[None]:
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            wanted = _calls.PAGE if left is None else min(left, _calls.PAGE)
            page = yield from asked(self._api, _calls.executions(workflow, filters, wanted, cursor))
            for answer in page.executions:
                yield Give(self._execution(answer))
            cursor = page.next_cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.executions)


def _may_have_arrived(error: ApiError) -> bool:
    import httpx

    if error.status is not None:
        # 503 is said before anything is done; the others are said by whoever waited in vain, too.
        return isinstance(error, ServerUnavailableError) and error.status != HTTPStatus.SERVICE_UNAVAILABLE
    return not isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def _cannot_find(execution_id: str, status: int | None) -> UnsupportedError:
    return UnsupportedError(
        f"This server finds no execution by its id alone, so name its workflow: get(workflow, {execution_id!r}).",
        status,
    )


def named(workflow: str | None, execution_id: str | None) -> tuple[str | None, str]:
    """Return an execution's workflow, if it is named, and its id, which may come first and alone.

    Raises
    ------
    TypeError
        If no execution is named.
    UnknownExecutionError
        If that can be no execution's id.
    """
    if execution_id is None:
        workflow, execution_id = None, workflow
    if execution_id is None:
        raise TypeError("Name an execution, by its id, or by its workflow and its id.")
    if not execution_id or any(character.isspace() for character in execution_id):
        said = f"{execution_id!r} is no execution's id" if execution_id else "the id is empty"
        raise UnknownExecutionError(UnknownExecutionError.advised(said))
    return workflow, execution_id


def merged(parameters: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters that were given in two ways as one set.

    Raises
    ------
    TypeError
        If one is given twice, or without a name.
    """
    if not isinstance(parameters, Mapping | None):
        raise TypeError(
            "Parameters are given by name, submit(workflow, steps=5), or as a dictionary of names and values; this is "
            f"a {type(parameters).__name__}."
        )
    given = dict(parameters or {})
    if twice := sorted(given.keys() & named.keys()):
        raise TypeError(f"{', '.join(twice)} is given twice: in `parameters` and by name.")
    return {**given, **named}


def extras_of(
    labels: Mapping[str, Any] | None, retention: float | timedelta | None, webhook: str | None
) -> dict[str, Any]:
    """Return what a submission holds beside parameters; nothing of what is not given, which an older server refuses.

    Raises
    ------
    ValueError, TypeError
        If the retention is not positive, or labels are none.
    """
    given = {
        "labels": None
        if labels is None
        else {name: str(value) for name, value in _calls.checked_labels(labels).items()},
        "retention_seconds": None if retention is None else _calls.whole_seconds(retention, "retention"),
        "webhook": webhook,
    }
    return {name: value for name, value in given.items() if value is not None}
