"""One run of a workflow, for those who await; `_execution` says what each method does and raises."""

from collections.abc import AsyncIterator
from typing import Any

from wildcast._api import AsyncApi
from wildcast._events import Event
from wildcast._execution_core import ExecutionCore
from wildcast._progress import Progress
from wildcast._result import AsyncResult
from wildcast.contract.wire import DeliveryStatus, ResultMetadata, StatusAnswer


class AsyncExecution(ExecutionCore[AsyncApi]):
    """A run that the server has accepted, as `Execution`. `AsyncClient` makes it.

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

    async def status(self) -> StatusAnswer:
        """Ask the server where the execution stands; as `Execution.status`."""
        return await self._api.run(self._looking())

    async def progress(self) -> dict[str, Any] | None:
        """Ask how far it is; as `Execution.progress`."""
        return await self._api.run(self._progressing())

    async def wait(self, timeout: float | None = None, progress: Progress = "auto") -> AsyncResult:  # noqa: ASYNC109 - as in the other face, and not of one request
        """Wait until the execution has ended, and return its result; as `Execution.wait`.

        To cancel the task ends the waiting and closes its stream; the execution goes on.
        """
        return self._result(await self._api.run(self._waiting(timeout, progress)))

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens as it happens; as `Execution.events`.

        Who leaves before the end closes the stream at once with `contextlib.aclosing`.
        """
        return self._api.iterate(self._happening())

    async def result(self) -> AsyncResult:
        """Return the result of an execution that has completed; as `Execution.result`."""
        return self._result(await self._api.run(self._reading()))

    async def partial_result(self, *, fill_missing: bool = False) -> AsyncResult:
        """Return what is stored and verified so far; as `Execution.partial_result`."""
        return self._result(await self._api.run(self._reading(partial_too=True)), fill_missing=fill_missing)

    def _result(self, metadata: ResultMetadata, *, fill_missing: bool = False) -> AsyncResult:
        return AsyncResult(self._api.blocking, self.workflow, metadata, fill_missing=fill_missing, **self._read_options)

    async def cancel(self) -> StatusAnswer:
        """Cancel it; as `Execution.cancel`."""
        return await self._api.run(self._cancelling())

    async def retry(self) -> StatusAnswer:
        """Try it again; as `Execution.retry`."""
        return await self._api.run(self._retrying())

    async def pin(self, pinned: bool = True) -> StatusAnswer:
        """Keep its result, or let it expire; as `Execution.pin`."""
        return await self._api.run(self._pinning(pinned))

    async def delete(self) -> None:
        """Delete it and what it has published; as `Execution.delete`."""
        await self._api.run(self._deleting())

    async def deliveries(self) -> tuple[DeliveryStatus, ...]:
        """Ask what its webhook was told; as `Execution.deliveries`."""
        return await self._api.run(self._delivering())
