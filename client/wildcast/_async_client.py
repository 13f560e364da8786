"""The entry point for those who await; `_client` says what each method does and raises."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from wildcast import _calls
from wildcast._api import AsyncApi
from wildcast._asking import asked
from wildcast._async_execution import AsyncExecution
from wildcast._client_core import ClientCore, extras_of, merged
from wildcast._retry import Retry
from wildcast.contract.wire import Health, StatusAnswer


class AsyncClient(ClientCore[AsyncApi, AsyncExecution]):
    """A server's client for asyncio: as `Client`, with methods to be awaited.

    Parameters
    ----------
    base_url, token, timeout, read_timeout, read_retry
        As `Client` has them.

    Raises
    ------
    InvalidUrlError, ConfigError, ValueError
        As `Client` raises them.

    Examples
    --------
    >>> async with AsyncClient() as client:  # doctest: +SKIP
    ...     execution = await client.submit("forecast", steps=12)
    ...     result = await execution.wait()
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        read_timeout: float = 60.0,
        read_retry: Retry | None = None,
    ) -> None:
        super().__init__(AsyncApi(base_url, token, timeout=timeout), AsyncExecution, read_timeout, read_retry)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; results that were opened stay readable."""
        await self._api.aclose()

    async def health(self) -> Health:
        """Ask how the server is; as `Client.health`."""
        return await self._api.run(asked(self._api, _calls.service_health()))

    async def workflows(self) -> dict[str, str]:
        """Return the workflows that can be submitted; as `Client.workflows`."""
        return await self._api.run(asked(self._api, _calls.workflows()))

    async def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON schema of a workflow's parameters; as `Client.schema`."""
        return await self._api.run(asked(self._api, _calls.schema(name)))

    async def submit(
        self,
        workflow: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        labels: Mapping[str, Any] | None = None,
        retention: float | timedelta | None = None,
        webhook: str | None = None,
        **kwargs: Any,
    ) -> AsyncExecution:
        """Ask for an execution; as `Client.submit`."""
        extras = extras_of(labels, retention, webhook)
        return await self._api.run(self._submitting(workflow, merged(parameters, kwargs), extras, idempotency_key))

    async def get(self, workflow: str | None = None, execution_id: str | None = None) -> AsyncExecution:
        """Return an execution that was submitted before; as `Client.get`."""
        return await self._api.run(self._getting(workflow, execution_id))

    def executions(
        self,
        workflow: str | None = None,
        *,
        status: str | Iterable[str] | None = None,
        labels: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[AsyncExecution]:
        """Yield executions, the newest first; as `Client.executions`."""
        return self._api.iterate(self._listing(workflow, _calls.filters_of(status, labels, since, until), limit))

    async def cancel(self, workflow: str | None = None, execution_id: str | None = None) -> StatusAnswer:
        """Cancel an execution; as `Client.cancel`."""
        return await self._api.run(self._acting(_calls.cancel, workflow, execution_id))

    async def retry(self, workflow: str | None = None, execution_id: str | None = None) -> StatusAnswer:
        """Try an execution again that has failed; as `Client.retry`."""
        return await self._api.run(self._acting(_calls.retry, workflow, execution_id))

    async def pin(
        self, workflow: str | None = None, execution_id: str | None = None, *, pinned: bool = True
    ) -> StatusAnswer:
        """Keep an execution's result, or let it expire; as `Client.pin`."""
        return await self._api.run(self._acting(partial(_calls.pin, pinned=pinned), workflow, execution_id))

    async def delete(self, workflow: str | None = None, execution_id: str | None = None) -> None:
        """Delete an execution and its result; as `Client.delete`."""
        await self._api.run(self._acting(_calls.delete, workflow, execution_id))
