"""One run of a workflow, seen from the client: what both faces of it do, as flows."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from wildcast import _calls
from wildcast._api import Api, AsyncApi
from wildcast._asking import asked
from wildcast._calls import Call, Target
from wildcast._errors import (
    ApiError,
    ExecutionCancelledError,
    ExecutionError,
    ExecutionFailedError,
    ResultsExpiredError,
    WaitTimeoutError,
)
from wildcast._events import EndEvent
from wildcast._execution_view import as_html, as_text
from wildcast._flows import Flow, Give
from wildcast._progress import Progress, ProgressBar
from wildcast._seconds import seconds_of
from wildcast._waiting import naming, patient
from wildcast._watching import Watch, is_outage
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import DeliveryStatus, ResultMetadata, StatusAnswer

A = TypeVar("A", bound=Api | AsyncApi)

_NO_RESULTS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class ExecutionCore(Generic[A]):
    """An execution, its last known status, and the flows of what can be asked of it.

    Parameters
    ----------
    api
        The server's API.
    workflow
        The workflow's name.
    execution_id
        ``exec_<unix seconds>_<8 hex>``.
    last_status
        Where it stands, if that is known already.
    reading
        What its results are made with: ``timeout`` and ``retry``.
    """

    def __init__(
        self,
        api: A,
        workflow: str,
        execution_id: str,
        last_status: StatusAnswer | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self._api: A = api
        self._read_options = dict(reading or {})
        self.workflow = workflow
        self.id = execution_id
        self.last_status = last_status
        """What the server said last about where it stands; None if it has not been asked."""

    def __repr__(self) -> str:
        return as_text(type(self).__name__, self.workflow, self.id, self.last_status)

    def _repr_html_(self) -> str:
        return as_html(self.workflow, self.id, self.last_status)

    @property
    def _target(self) -> Target:
        return Target(self.workflow, self.id)

    def _asking(self, call: Call[StatusAnswer]) -> Flow[StatusAnswer]:
        """Make a call whose answer is the status."""
        self.last_status = yield from asked(self._api, call)
        return self.last_status

    def _looking(self) -> Flow[StatusAnswer]:
        return self._asking(_calls.status(self._target))

    def _progressing(self) -> Flow[dict[str, Any] | None]:
        return (yield from self._looking()).progress

    def _cancelling(self) -> Flow[StatusAnswer]:
        return self._asking(_calls.cancel(self._target))

    def _retrying(self) -> Flow[StatusAnswer]:
        return self._asking(_calls.retry(self._target))

    def _pinning(self, pinned: bool) -> Flow[StatusAnswer]:
        return self._asking(_calls.pin(self._target, pinned=pinned))

    def _deleting(self) -> Flow[None]:
        return asked(self._api, _calls.delete(self._target))

    def _delivering(self) -> Flow[tuple[DeliveryStatus, ...]]:
        return asked(self._api, _calls.deliveries(self._target))

    def _happening(self) -> Flow[None]:
        with self._api.listening() as may_listen:
            watch = Watch(self._api, self._target, may_listen=may_listen)
            while True:
                event = yield from watch.next()
                self.last_status = watch.answer
                yield Give(event)
                if isinstance(event, EndEvent):
                    return

    def _waiting(self, timeout: float | None, progress: Progress) -> Flow[ResultMetadata]:
        deadline = None if timeout is None else time.monotonic() + seconds_of(timeout, "timeout", "wait(timeout=600)")
        with _naming(self.id):
            answer = yield from self._ending(deadline, progress)
            if answer.status is not ExecutionStatus.COMPLETED:
                raise ended_without(answer)
            try:
                return (yield from patient(self._reading, is_outage, deadline))
            except ApiError as error:
                if not is_outage(error) or deadline is None or time.monotonic() < deadline:
                    raise
                said = f"{self.id} has completed, and its result could not be had in time; wait again."
                raise WaitTimeoutError(said, self.id) from error

    def _ending(self, deadline: float | None, progress: Progress) -> Flow[StatusAnswer]:
        with self._api.listening() as may_listen, ProgressBar(self.workflow, progress) as bar:
            watch = Watch(self._api, self._target, deadline, may_listen=may_listen)
            while True:
                event = yield from watch.next()
                self.last_status = watch.answer
                bar.show(watch.answer)
                if isinstance(event, EndEvent):
                    return watch.answer

    def _reading(self, *, partial_too: bool = False) -> Flow[ResultMetadata]:
        try:
            return (yield from asked(self._api, _calls.results(self._target, partial_too=partial_too)))
        except ApiError as error:
            if error.status not in _NO_RESULTS:
                raise
            refusal = error
        # The answer says that there are none; the status says why.
        answer = yield from self._looking()
        if answer.status is ExecutionStatus.COMPLETED or not answer.status.is_final:
            raise refusal
        raise ended_without(answer) from refusal


@contextmanager
def _naming(execution_id: str) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        error.args = (naming(str(error), execution_id),)
        raise


def ended_without(answer: StatusAnswer) -> ExecutionError:
    """Return the error for an execution that has ended and has no results."""
    name = answer.execution_id
    if answer.status is ExecutionStatus.FAILED:
        reason = answer.error_message or "the server gives no reason"
        return ExecutionFailedError(f"{name} failed: {reason}", name, reason)
    if answer.status is ExecutionStatus.CANCELLED:
        return ExecutionCancelledError(f"{name} was cancelled before it had results; submit it again.", name)
    return ResultsExpiredError(f"The results of {name} were kept for their time and are gone; submit it again.", name)
