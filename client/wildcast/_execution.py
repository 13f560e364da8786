"""One run of a workflow, seen from the client."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from wildcast._api import Api
from wildcast._errors import (
    ApiError,
    ExecutionCancelledError,
    ExecutionError,
    ExecutionFailedError,
    ResultsExpiredError,
    ServerUnavailableError,
    WaitTimeoutError,
)
from wildcast._progress import Progress, ProgressBar
from wildcast._result import Result
from wildcast._waiting import naming, patiently, pauses
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StatusAnswer


class Execution:
    """A run that the server has accepted. `Client.submit` and `Client.get` make it.

    Parameters
    ----------
    api
        The server's API.
    workflow
        The workflow's name.
    execution_id
        ``exec_<unix seconds>_<8 hex>``.
    """

    def __init__(self, api: Api, workflow: str, execution_id: str) -> None:
        self._api = api
        self.workflow = workflow
        self.id = execution_id

    def __repr__(self) -> str:
        return f"Execution({self.workflow!r}, {self.id!r})"

    def status(self) -> StatusAnswer:
        """Ask the server where the execution stands.

        Raises
        ------
        ApiError
            If the server does not answer, or with an error.
        """
        return self._api.status(self.workflow, self.id)

    def wait(self, timeout: float | None = None, progress: Progress = "auto") -> Result:
        """Wait until the execution has ended, and return its result.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None for as long as it takes.
        progress
            Whether to draw a progress bar; ``"auto"``: on a terminal.

        Raises
        ------
        ExecutionFailedError, ExecutionCancelledError, ResultsExpiredError
            If it ended without results, or they are gone.
        WaitTimeoutError
            If it has not ended by then; it goes on.
        ApiError
            If the server answers with an error, or stays away for longer than a restart takes (two minutes); the
            sentence names the execution.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with _naming(self.id):
            answer = self._ended(deadline, progress)
            if answer.status is not ExecutionStatus.COMPLETED:
                raise _ended_without(answer)
            return patiently(self.result, _is_outage, deadline)

    def result(self) -> Result:
        """Return the result of an execution that has completed.

        Raises
        ------
        ResultsPendingError
            If it has not ended; `wait` waits for it.
        ExecutionFailedError, ExecutionCancelledError, ResultsExpiredError
            If it ended without results, or they are gone.
        ApiError
            If the server does not answer, or with an error.
        """
        try:
            return Result(self._api, self.workflow, self._api.results(self.workflow, self.id))
        except ApiError as error:
            if error.status not in (400, 404, 410):
                raise
            # The answer says that there are none; the status says why.
            answer = self.status()
            if answer.status is ExecutionStatus.COMPLETED or not answer.status.is_final:
                raise
            raise _ended_without(answer) from error

    def _ended(self, deadline: float | None, progress: Progress) -> StatusAnswer:
        with ProgressBar(self.workflow, progress) as bar:
            for pause in pauses():
                answer = patiently(self.status, _is_outage, deadline)
                bar.show(answer)
                if answer.status.is_final:
                    break
                self._sleep(pause, deadline, answer.status)
        return answer

    def _sleep(self, pause: float, deadline: float | None, status: ExecutionStatus) -> None:
        left = pause if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeoutError(f"{self.id} is still {status.value}; it goes on, so wait again.", self.id)
        time.sleep(min(pause, left))


def _is_outage(error: Exception) -> bool:
    return isinstance(error, ServerUnavailableError)


@contextmanager
def _naming(execution_id: str) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        error.args = (naming(str(error), execution_id),)
        raise


def _ended_without(answer: StatusAnswer) -> ExecutionError:
    name = answer.execution_id
    if answer.status is ExecutionStatus.FAILED:
        reason = answer.error_message or "the server gives no reason"
        return ExecutionFailedError(f"{name} failed: {reason}", name, reason)
    if answer.status is ExecutionStatus.CANCELLED:
        return ExecutionCancelledError(f"{name} was cancelled before it had results; submit it again.", name)
    return ResultsExpiredError(f"The results of {name} were kept for their time and are gone; submit it again.", name)
