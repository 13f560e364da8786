"""The entry point for those who submit requests and read results; `_async_client` is the same for those who await."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from wildcast import _calls
from wildcast._api import Api
from wildcast._asking import asked
from wildcast._client_core import ClientCore, extras_of, merged
from wildcast._execution import Execution
from wildcast._retry import Retry
from wildcast.contract.wire import Health, StatusAnswer


class Client(ClientCore[Api, Execution]):
    """A server's client; threads may share it.

    Parameters
    ----------
    base_url
        The server's address; ``WILDCAST_URL``, then the server that ``wildcast login`` was told, then
        ``http://127.0.0.1:8000``, if none is given.
    token
        Who you are, if the server wants to know; an empty one: nobody. If none is given it is ``WILDCAST_TOKEN``, which
        is for the configured server alone where one is (by ``WILDCAST_URL``, or else ``wildcast login``), then the
        token that ``wildcast login`` keeps for this very address.
    timeout
        Seconds that one request to the API may stay silent. It does not bound an execution: `Execution.wait` does.
    read_timeout
        Seconds that a connection to the files of a result may stay silent.
    read_retry
        How often, and how soon, reading a file is tried again.

    Raises
    ------
    InvalidUrlError
        If `base_url` is no ``http`` or ``https`` URL, or has a password in it.
    ConfigError
        If what ``wildcast login`` keeps is needed and cannot be used.
    ValueError
        If `timeout` is no number, or no header can carry the token.

    Examples
    --------
    >>> with Client() as client:  # doctest: +SKIP
    ...     data = client.submit("forecast", steps=12).wait().open_dataset()
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
        super().__init__(Api(base_url, token, timeout=timeout), Execution, read_timeout, read_retry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; results that were opened stay readable."""
        self._api.close()

    def health(self) -> Health:
        """Ask how the server is; one that is unhealthy says what is wrong.

        Raises
        ------
        ApiError
            If it does not answer, or as nothing that is a server of this kind.
        """
        return self._api.run(asked(self._api, _calls.service_health()))

    def workflows(self) -> dict[str, str]:
        """Return the workflows that can be submitted: name and description of each.

        Raises
        ------
        ApiError
            If the server does not answer, or with an error.
        """
        return self._api.run(asked(self._api, _calls.workflows()))

    def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON schema of a workflow's parameters.

        Raises
        ------
        UnknownWorkflowError
            If there is no such workflow.
        """
        return self._api.run(asked(self._api, _calls.schema(name)))

    def submit(
        self,
        workflow: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        labels: Mapping[str, Any] | None = None,
        retention: float | timedelta | None = None,
        webhook: str | None = None,
        **kwargs: Any,
    ) -> Execution:
        """Ask for an execution; it is queued when this returns.

        Parameters
        ----------
        workflow
            The workflow's name.
        parameters, **kwargs
            Its parameters, given either way; times, time differences and numpy's values are understood. One that is
            called as an argument of this method is given in `parameters`.
        idempotency_key
            Up to 255 printable ASCII characters without spaces, which no other request has. With it the request is
            repeated after an outage, or where the server is busy, and is one execution however often it arrives;
            without it, it is sent once.
        labels
            Names and texts by which `executions` can be narrowed.
        retention
            For how long after its end the result is kept, in seconds; the server's own time if None.
        webhook
            A URL that is told how it ended.

        Raises
        ------
        UnknownWorkflowError
            If there is no such workflow.
        InvalidParametersError
            If the workflow does not accept them; `fields` says which.
        IdempotencyConflictError
            If another request came with that key before.
        ServerBusyError
            If the server takes no more now.
        TypeError, ValueError
            If a parameter is given twice, has no form in JSON, or none that is exactly its value; if the key is none;
            if `retention` is no time.
        """
        extras = extras_of(labels, retention, webhook)
        return self._api.run(self._submitting(workflow, merged(parameters, kwargs), extras, idempotency_key))

    def get(self, workflow: str | None = None, execution_id: str | None = None) -> Execution:
        """Return an execution that was submitted before, by anyone who may see it.

        Parameters
        ----------
        workflow, execution_id
            Its workflow and its id; or its id alone.

        Raises
        ------
        UnknownExecutionError
            If the server knows no such one.
        UnsupportedError
            If its workflow has to be named, as to Earth2Studio's server.
        """
        return self._api.run(self._getting(workflow, execution_id))

    def executions(
        self,
        workflow: str | None = None,
        *,
        status: str | Iterable[str] | None = None,
        labels: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Execution]:
        """Yield executions, the newest first, a page at a time as they are asked for.

        Parameters
        ----------
        workflow
            Of this one only.
        status
            Of this status, or any of these.
        labels
            With all of these.
        since, until
            Submitted then or later, and before; without a time zone it is UTC.
        limit
            How many at most.

        Raises
        ------
        UnknownWorkflowError
            If there is no such workflow.
        UnsupportedError
            If the server lists none, as Earth2Studio's.
        ValueError
            If a status or time is none.
        """
        return self._api.iterate(self._listing(workflow, _calls.filters_of(status, labels, since, until), limit))

    def cancel(self, workflow: str | None = None, execution_id: str | None = None) -> StatusAnswer:
        """Cancel an execution, without asking for it before where its workflow is named.

        Parameters
        ----------
        workflow, execution_id
            As for `get`: its workflow and its id, or its id alone.

        Raises
        ------
        UnknownExecutionError
            If the server knows no such one.
        ConflictError, UnsupportedError, ApiError
            As `Execution.cancel` raises them.
        """
        return self._api.run(self._acting(_calls.cancel, workflow, execution_id))

    def retry(self, workflow: str | None = None, execution_id: str | None = None) -> StatusAnswer:
        """Try an execution again that has failed; named as for `cancel`, and otherwise as `Execution.retry`."""
        return self._api.run(self._acting(_calls.retry, workflow, execution_id))

    def pin(self, workflow: str | None = None, execution_id: str | None = None, *, pinned: bool = True) -> StatusAnswer:
        """Keep an execution's result, or let it expire; named as for `cancel`, and otherwise as `Execution.pin`."""
        return self._api.run(self._acting(partial(_calls.pin, pinned=pinned), workflow, execution_id))

    def delete(self, workflow: str | None = None, execution_id: str | None = None) -> None:
        """Delete an execution and its result; named as for `cancel`, and otherwise as `Execution.delete`.

        One that was deleted before is an `UnknownExecutionError` by its id alone, and none with its workflow.
        """
        self._api.run(self._acting(_calls.delete, workflow, execution_id))
