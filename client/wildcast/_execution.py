"""One run of a workflow, for those who block; `_async_execution` is the same for those who await."""

from collections.abc import Iterator
from typing import Any

from wildcast._api import Api
from wildcast._events import Event
from wildcast._execution_core import ExecutionCore
from wildcast._progress import Progress
from wildcast._result import Result
from wildcast.contract.wire import DeliveryStatus, ResultMetadata, StatusAnswer


class Execution(ExecutionCore[Api]):
    """A run that the server has accepted. `Client.submit`, `Client.get` and `Client.executions` make it.

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

    def status(self) -> StatusAnswer:
        """Ask the server where the execution stands.

        Raises
        ------
        ApiError
            If the server does not answer, or with an error.
        """
        return self._api.run(self._looking())

    def progress(self) -> dict[str, Any] | None:
        """Ask how far it is: ``current_step``, ``total_steps`` and what else the workflow reports; None before it does.

        Raises
        ------
        ApiError
            If the server does not answer, or with an error.
        """
        return self._api.run(self._progressing())

    def wait(self, timeout: float | None = None, progress: Progress = "auto") -> Result:
        """Wait until the execution has ended, and return its result. Ctrl-C ends the waiting alone.

        Parameters
        ----------
        timeout
            Seconds to wait for its end at most; None for as long as it takes. It is not about single requests, nor
            about the one for the result of what has ended.
        progress
            Whether to draw a progress bar; ``"auto"``: on a terminal and in a notebook.

        Raises
        ------
        ExecutionFailedError, ExecutionCancelledError, ResultsExpiredError
            If it ended without results, or they are gone.
        WaitTimeoutError
            If it has not ended by then, or the server is away at that moment; it goes on.
        ApiError
            If the server answers with an error, or stays away for longer than a restart takes (two minutes); the
            sentence names the execution.
        ValueError
            If `timeout` is no number.
        """
        try:
            return self._result(self._api.run(self._waiting(timeout, progress)))
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"{self.id} goes on; Client.get({self.workflow!r}, {self.id!r}) finds it again.")
            raise

    def events(self) -> Iterator[Event]:
        """Yield what happens as it happens, from where the execution stands now to its end.

        Of a server that sends no events, they are found out by asking it again and again.

        Yields
        ------
        StatusEvent, ProgressEvent, UploadEvent, EndEvent
            The last one is the `EndEvent`.

        Raises
        ------
        ApiError
            As `wait` raises it.
        """
        return self._api.iterate(self._happening())

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
        return self._result(self._api.run(self._reading()))

    def partial_result(self, *, fill_missing: bool = False) -> Result:
        """Return what is stored and verified so far of an execution that still runs; of one that has ended, all.

        ``result.metadata.partial`` says which. Who asks first begins it, and may have to ask again. It stays what it
        was when its first file was read, and `paths` what they were when it was asked for; what has come since, another
        call returns.

        Parameters
        ----------
        fill_missing
            Whether chunks that are not there yet read as fill values. Otherwise reading them is a `PendingFileError`,
            because nobody can tell them from those that will never be written.

        Raises
        ------
        ResultsPendingError
            If there is nothing yet; ask again in some seconds.
        ExecutionFailedError, ExecutionCancelledError, ResultsExpiredError, ApiError
            As `result` raises them.
        """
        return self._result(self._api.run(self._reading(partial_too=True)), fill_missing=fill_missing)

    def _result(self, metadata: ResultMetadata, *, fill_missing: bool = False) -> Result:
        return Result(self._api, self.workflow, metadata, fill_missing=fill_missing, **self._read_options)

    def cancel(self) -> StatusAnswer:
        """Cancel it: at once if it is queued, within seconds if it runs. It is not deleted.

        Raises
        ------
        ConflictError
            If it has ended otherwise.
        UnsupportedError
            If the server cannot, as Earth2Studio's.
        ApiError
            If the server does not answer, or with another error.
        """
        return self._api.run(self._cancelling())

    def retry(self) -> StatusAnswer:
        """Try it again if it has failed, from the step that failed.

        Raises
        ------
        ConflictError
            If it has ended otherwise.
        UnsupportedError, ApiError
            As `cancel` raises them.
        """
        return self._api.run(self._retrying())

    def pin(self, pinned: bool = True) -> StatusAnswer:
        """Keep its result, however old it becomes; not `pinned`, let it expire when it would have.

        Raises
        ------
        ConflictError
            If the result has expired.
        UnsupportedError, ApiError
            As `cancel` raises them.
        """
        return self._api.run(self._pinning(pinned))

    def delete(self) -> None:
        """Delete it and what it has published; it has to have ended.

        Raises
        ------
        ConflictError
            If it has not: cancel it first.
        UnsupportedError, ApiError
            As `cancel` raises them.
        """
        self._api.run(self._deleting())

    def deliveries(self) -> tuple[DeliveryStatus, ...]:
        """Ask what its webhook was told, and how that went: the oldest first, none before it has ended.

        Raises
        ------
        UnsupportedError, ApiError
            As `cancel` raises them.
        """
        return self._api.run(self._delivering())
