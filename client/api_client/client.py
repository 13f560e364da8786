"""Submitting requests, waiting for them and downloading single files."""

import io
import json
import math
import time
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx

from api_client._api import NOT_AN_ANSWER, SdkApi, metadata_of
from api_client._failures import error_of, is_outage, naming_execution, pending, translated, unexpected
from api_client.exceptions import APIConnectionError as ClientConnectionError
from api_client.exceptions import (
    BadRequestError,
    Earth2StudioAPIError,
    InferenceRequestNotFoundError,
    InternalServerError,
    RequestTimeoutError,
)
from api_client.models import (
    HealthStatus,
    InferenceRequest,
    InferenceRequestResponse,
    InferenceRequestResults,
    InferenceRequestStatus,
    RequestStatus,
    StorageType,
)
from wildcast import Result
from wildcast._calls import path_of
from wildcast._retry import Retry
from wildcast._waiting import patiently, pauses

__all__ = [
    "BadRequestError",
    "ClientConnectionError",
    "Earth2StudioAPIError",
    "Earth2StudioClient",
    "HealthStatus",
    "InferenceRequest",
    "InferenceRequestNotFoundError",
    "InferenceRequestResponse",
    "InferenceRequestResults",
    "InferenceRequestStatus",
    "InternalServerError",
    "RequestStatus",
    "RequestTimeoutError",
    "StorageType",
]

LONGEST_BACK_OFF = 120.0
"""Seconds between two attempts at most, as urllib3 has it."""


class _Answer(Protocol):
    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self: ...


A = TypeVar("A", bound=_Answer)


class Earth2StudioClient:
    """A client of one workflow, of wildcast's server or of the Earth2Studio server.

    Parameters
    ----------
    base_url
        The server's address.
    workflow_name
        The workflow that requests are for.
    timeout
        Seconds that one HTTP request may stay silent. It does not bound an execution: `wait_for_completion` does.
    max_retries
        How often a GET is repeated after a broken connection or 429, 500, 502, 503 or 504; a submission never is.
    retry_backoff_factor
        The longest pause before the first repetition, in seconds; it doubles with each.
    token
        Sent as ``Authorization: Bearer``; if none is given, as `wildcast.Client` finds one: ``WILDCAST_TOKEN``, which
        is for the server of ``WILDCAST_URL`` alone where that is set, or a stored login. It is not pickled.

    Raises
    ------
    Earth2StudioAPIError
        If `base_url` is no ``http`` or ``https`` URL, or no header can carry `token`.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000",
        workflow_name: str = "deterministic_earth2_workflow",
        timeout: float = 30.0,
        max_retries: int = 3,
        retry_backoff_factor: float = 0.3,
        token: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.workflow_name = workflow_name
        self.timeout = timeout
        self.token = token
        self._retry = Retry(attempts=max_retries + 1, base=retry_backoff_factor, cap=LONGEST_BACK_OFF)
        try:
            self._api = SdkApi(self.base_url, token, timeout=timeout, retry=self._retry)
        except ValueError as error:
            raise Earth2StudioAPIError(str(error)) from error
        self._has_answered = False
        self._last: tuple[InferenceRequestResults, float, Result] | None = None

    def __repr__(self) -> str:
        return f"Earth2StudioClient({self.base_url!r}, {self.workflow_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        # As everything that is pickled here: without the token, of which another process has its own.
        return {**self.__dict__, "token": None, "_last": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; datasets that were opened stay readable."""
        self._api.close()

    def health_check(self) -> HealthStatus:
        """Ask the server how it is.

        Raises
        ------
        Earth2StudioAPIError
            If it does not answer, or is unhealthy.
        """
        return _parsed(HealthStatus, self._request("GET", "/health"))

    def submit_inference_request(self, request: InferenceRequest) -> InferenceRequestResponse:
        """Ask for an execution; it is queued when this returns.

        Raises
        ------
        InferenceRequestNotFoundError
            If there is no such workflow.
        Earth2StudioAPIError
            If the workflow does not accept the parameters (`status_code` 422; `details` says which), the server takes
            no more now (429), or does not answer.
        TypeError, ValueError
            If a parameter has no form in JSON.
        """
        body = json.dumps(request.to_dict(), ensure_ascii=False, allow_nan=False).encode()
        return _parsed(InferenceRequestResponse, self._request("POST", path_of(self.workflow_name), content=body))

    def get_request_status(self, request_id: str) -> InferenceRequestStatus:
        """Ask where an execution stands.

        Raises
        ------
        InferenceRequestNotFoundError
            If the server knows no such execution of this workflow.
        Earth2StudioAPIError
            If it does not answer, or with another error.
        """
        return _parsed(InferenceRequestStatus, self._request("GET", f"{self._path(request_id)}/status"))

    def get_request_results(self, request_id: str, timeout: float | None = None) -> InferenceRequestResults:
        """Ask what an execution has left to read; no file is downloaded.

        Parameters
        ----------
        request_id
            The execution's id.
        timeout
            Seconds that the server may stay silent; the client's own if None.

        Raises
        ------
        BadRequestError
            If the results have expired.
        InferenceRequestNotFoundError
            If the execution failed, was cancelled, or is not known.
        Earth2StudioAPIError
            With `status_code` 202 if it has not ended; with another, or None, for anything else.
        """
        response = self._request("GET", f"{self._path(request_id)}/results", timeout=timeout)
        if response.status_code == HTTPStatus.ACCEPTED:
            raise pending(response)
        return _parsed(InferenceRequestResults, response)

    def wait_for_completion(
        self, request_id: str, poll_interval: float = 5.0, timeout: float | None = None
    ) -> InferenceRequestResults:
        """Wait until an execution has ended, and return its results.

        Parameters
        ----------
        request_id
            The execution's id.
        poll_interval
            Seconds between two looks at its status, at most: the first ones follow sooner.
        timeout
            Seconds to wait for the execution; None for as long as it takes, 0 for one look. HTTP requests have the
            client's own timeout.

        Raises
        ------
        RequestTimeoutError
            If it has not ended by then; it goes on.
        Earth2StudioAPIError
            If it failed, was cancelled or its results have expired; if the server answers with an error, or stays away
            for longer than a restart takes (two minutes). The message names the execution.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with naming_execution(request_id):
            self._wait_for_end(request_id, poll_interval, timeout, deadline)
            return patiently(partial(self.get_request_results, request_id), self._may_come_back, deadline)

    def _wait_for_end(
        self, request_id: str, poll_interval: float, timeout: float | None, deadline: float | None
    ) -> None:
        for pause in pauses(poll_interval):
            status = patiently(partial(self.get_request_status, request_id), self._may_come_back, deadline)
            if status.status is RequestStatus.COMPLETED:
                return
            if reason := _reason_for_no_results(status):
                raise Earth2StudioAPIError(reason)
            left = math.inf if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise RequestTimeoutError(
                    f"{request_id} is {status.status.value} after {timeout} seconds; it goes on, so wait again."
                )
            time.sleep(min(pause, left))

    def _may_come_back(self, error: Exception) -> bool:
        # A server that has never answered is a wrong address rather than one that restarts.
        return self._has_answered and is_outage(error)

    def run_inference_sync(
        self, request: InferenceRequest, poll_interval: float = 5.0, timeout: float | None = None
    ) -> InferenceRequestResults:
        """Submit a request and wait for its results.

        Parameters
        ----------
        request
            What is asked of the workflow.
        poll_interval, timeout
            As `wait_for_completion`.

        Raises
        ------
        Earth2StudioAPIError
            As `submit_inference_request` and `wait_for_completion`.
        """
        submitted = self.submit_inference_request(request)
        return self.wait_for_completion(submitted.execution_id, poll_interval, timeout)

    def result_root_path(self, result: InferenceRequestResults) -> str:
        """Return the path on the server below which it answers for a result's files."""
        return f"{path_of(self.workflow_name, result.request_id, 'results')}/"

    def download_result(self, result: InferenceRequestResults, path: str, timeout: float | None = None) -> io.BytesIO:
        """Download one file into memory, wherever it is stored.

        Where that would be too large, ``client.as_wildcast(result).download_file(path, directory)`` streams it to disk.

        Parameters
        ----------
        result
            What the file belongs to. A signed URL that has ended is renewed.
        path
            As `InferenceRequestResults.output_files` has it, with or without the execution's id.
        timeout
            Seconds that the connection may stay silent; the client's own if None.

        Raises
        ------
        ResultFileNotFoundError
            If the result has no such file.
        Earth2StudioAPIError
            With `status_code` 403 (or the API's 401) if access is refused; with another, or None, if the file cannot be
            read for another reason.
        """
        if path == f"{self.workflow_name}:{result.request_id}":  # the archive of all files, which is none of them
            return io.BytesIO(self._request("GET", f"{self.result_root_path(result)}{path}", timeout=timeout).content)
        with translated():
            files = self.as_wildcast(result, timeout)
            return io.BytesIO(files.fs.cat_file(files.fs.path_of(path.removeprefix(f"{result.request_id}/"))))

    def as_wildcast(self, result: InferenceRequestResults, timeout: float | None = None) -> Result:
        """Return a result as `wildcast` reads it: every dataset by name, files streamed to disk, an fsspec filesystem.

        Parameters
        ----------
        result
            Of this client's workflow.
        timeout
            Seconds that a connection may stay silent; the client's own if None.
        """
        silence = self.timeout if timeout is None else timeout
        last = self._last
        # A loop over thousands of files asks for the same result each time.
        if last is not None and last[0] is result and last[1] == silence:
            return last[2]
        metadata = metadata_of(result, self.workflow_name)
        opened = Result(self._api, self.workflow_name, metadata, timeout=silence, retry=self._retry)
        self._last = (result, silence, opened)
        return opened

    def _path(self, request_id: str) -> str:
        return path_of(self.workflow_name, request_id)

    def _request(
        self, method: str, path: str, *, content: bytes | None = None, timeout: float | None = None
    ) -> httpx.Response:
        with translated():
            response = self._api.send(
                method, path, content=content, timeout=self.timeout if timeout is None else timeout
            )
        self._has_answered |= not response.is_server_error
        if not response.is_success:
            raise error_of(response)
        return response


def _parsed(answer: type[A], response: httpx.Response) -> A:
    try:
        return answer.from_dict(response.json())
    except NOT_AN_ANSWER as error:
        raise unexpected(response, error) from error


def _reason_for_no_results(status: InferenceRequestStatus) -> str | None:
    name = status.execution_id
    match status.status:
        case RequestStatus.FAILED:
            return f"{name} failed: {status.error_message or 'the server gives no reason'}"
        case RequestStatus.CANCELLED:
            return f"{name} was cancelled before it had results; submit the request again."
        case RequestStatus.EXPIRED:
            return f"The results of {name} have expired and are gone; submit the request again."
        case _:
            return None
