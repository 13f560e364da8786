"""The entry point for those who submit requests and read results."""

from types import TracebackType
from typing import Any, Self

from wildcast._api import Api
from wildcast._encode import to_json
from wildcast._execution import Execution


class Client:
    """A server's client.

    Parameters
    ----------
    base_url
        The server's address; ``WILDCAST_URL``, then ``http://127.0.0.1:8000``, if none is given.
    token
        Who you are, if the server wants to know; ``WILDCAST_TOKEN`` if none is given.
    timeout
        Seconds that one request to the API may stay silent. It does not bound an execution: `Execution.wait` does.

    Raises
    ------
    InvalidUrlError
        If `base_url` is no ``http`` or ``https`` URL, or has a password in it.

    Examples
    --------
    >>> with Client() as client:  # doctest: +SKIP
    ...     data = client.submit("forecast", steps=12).wait().open_dataset()
    """

    def __init__(self, base_url: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        self._api = Api(base_url, token, timeout=timeout)

    def __repr__(self) -> str:
        return f"Client({self._api.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; results that were opened stay readable."""
        self._api.close()

    def workflows(self) -> dict[str, str]:
        """Return the workflows that can be submitted: name and description of each.

        Raises
        ------
        ApiError
            If the server does not answer, or with an error.
        """
        return self._api.workflows()

    def schema(self, name: str) -> dict[str, Any]:
        """Return the JSON schema of a workflow's parameters.

        Raises
        ------
        UnknownWorkflowError
            If there is no such workflow.
        """
        return self._api.schema(name)

    def submit(self, workflow: str, parameters: dict[str, Any] | None = None, **kwargs: Any) -> Execution:
        """Ask for an execution; it is queued when this returns.

        Parameters
        ----------
        workflow
            The workflow's name.
        parameters, **kwargs
            Its parameters, given either way; times, time differences and numpy's values are understood.

        Raises
        ------
        UnknownWorkflowError
            If there is no such workflow.
        InvalidParametersError
            If the workflow does not accept them; `fields` says which.
        ServerBusyError
            If the server takes no more now.
        TypeError, ValueError
            If a parameter is given twice, or has no form in JSON.
        """
        given = dict(parameters or {})
        if twice := sorted(given.keys() & kwargs.keys()):
            raise TypeError(f"{', '.join(twice)} is given twice: in `parameters` and by name.")
        submitted = self._api.submit(workflow, to_json({**given, **kwargs}))
        return Execution(self._api, workflow, submitted.execution_id)

    def get(self, workflow: str, execution_id: str) -> Execution:
        """Return an execution that was submitted before, by anyone who may see it.

        Raises
        ------
        UnknownExecutionError
            If the server knows no such one.
        """
        execution = Execution(self._api, workflow, execution_id)
        execution.status()
        return execution
