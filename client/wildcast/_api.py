"""The API's calls: JSON over HTTP, typed answers, errors of one tree."""

import gzip
import os
import threading
import time
import weakref
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from wildcast._errors import (
    ApiError,
    InvalidParametersError,
    InvalidUrlError,
    NotAuthorizedError,
    ResultsPendingError,
    ServerBusyError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    UnknownExecutionError,
    UnknownWorkflowError,
)
from wildcast._problems import parse_problem
from wildcast._retry import Retry, parse_retry_after
from wildcast._version import __version__
from wildcast.contract.wire import Pending, ResultMetadata, SignedAnswer, StatusAnswer, Submitted

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
TOKEN_VARIABLE = "WILDCAST_TOKEN"  # noqa: S105 - the variable's name
URL_VARIABLE = "WILDCAST_URL"

_RETRY = Retry(attempts=5, base=0.5, cap=8.0)
_REPEATED = frozenset({429, 502, 503, 504})


class Api:
    """One server's API.

    Parameters
    ----------
    base_url
        Where it is; ``WILDCAST_URL``, then ``http://127.0.0.1:8000``, if none is given.
    token
        Sent as ``Authorization: Bearer``; ``WILDCAST_TOKEN`` if none is given.
    timeout
        Seconds that one request may stay silent.
    retry
        How often a GET is repeated.

    Raises
    ------
    InvalidUrlError
        If `base_url` is no ``http`` or ``https`` URL, or has a password in it.
    ValueError
        If the token cannot be sent in a header.
    """

    repeated = _REPEATED
    """The statuses after which a GET is sent again."""

    def __init__(
        self, base_url: str | None = None, token: str | None = None, *, timeout: float = 30.0, retry: Retry = _RETRY
    ) -> None:
        found = "" if base_url else os.environ.get(URL_VARIABLE, "")
        self.base_url = _checked_url(base_url or found or DEFAULT_URL)
        self._address = f"the address ({URL_VARIABLE})" if found else "the address"
        self._token = _checked_token(token or os.environ.get(TOKEN_VARIABLE) or "")
        self._timeout, self._retry = timeout, retry
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None

    def __repr__(self) -> str:
        return f"Api({self.base_url!r}, token={'set' if self._token else None})"

    def __getstate__(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "timeout": self._timeout, "retry": self._retry}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # the constructor's own arguments, from __getstate__

    @property
    def authorization(self) -> Mapping[str, str]:
        """The header with the token; empty without one."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def workflows(self) -> dict[str, str]:
        """Return the names of the workflows, and what each does."""
        return self._get("/v1/infer/workflows", _Workflows).workflows

    def schema(self, workflow: str) -> dict[str, Any]:
        """Return the JSON schema of a workflow's parameters."""
        return self._get(f"{_path('workflows', workflow)}/schema", dict[str, Any], missing=UnknownWorkflowError)

    def submit(self, workflow: str, parameters: Any) -> Submitted:
        """Submit an execution; never repeated, because it would be another one."""
        body = msgspec.json.encode({"parameters": parameters})
        response = self._send("POST", _path(workflow), content=body)
        return _decoded(response, Submitted, UnknownWorkflowError)

    def status(self, workflow: str, execution_id: str) -> StatusAnswer:
        """Return where an execution stands."""
        return self._get(f"{_path(workflow, execution_id)}/status", StatusAnswer, missing=UnknownExecutionError)

    def results(self, workflow: str, execution_id: str, *, listed: bool = True) -> ResultMetadata:
        """Return what an execution has published, with a URL signed now; not `listed`, its files may be left out.

        Raises
        ------
        ResultsPendingError
            If it has not ended.
        ApiError
            If there are no results, or no answer.
        """
        path = f"{_path(workflow, execution_id)}/results"
        response = self._send("GET", path, params={} if listed else {"files": "none"})
        if response.status_code == HTTPStatus.ACCEPTED:
            raise _pending(response, execution_id)
        return _decoded(response, ResultMetadata, UnknownExecutionError)

    def listing(self, workflow: str, execution_id: str) -> dict[str, int] | None:
        """Return the files of a result and their sizes in bytes; None if it lists none, or not all."""
        return listed_files(self.results(workflow, execution_id))

    def sign(
        self,
        workflow: str,
        execution_id: str,
        *,
        path: str | None = None,
        expires_in: int | None = None,
        ip: str | None = None,
        kind: Literal["url", "cookies"] = "url",
    ) -> SignedAnswer:
        """Ask for a signed URL, or cookies, for a result or a part of it.

        Parameters
        ----------
        workflow, execution_id
            Whose result it is.
        path
            A file or directory of the result, relative to it; all of it if None.
        expires_in
            Seconds until the signature ends; as long as that of the result's metadata if None.
        ip
            An IPv4 address or network that alone may use it.
        kind
            ``url`` or ``cookies``.

        Raises
        ------
        ApiError
            If the server signs nothing for it, or does not answer.
        """
        wanted = {"path": path, "expires_in": expires_in, "ip": ip, "kind": kind}
        body = msgspec.json.encode({name: value for name, value in wanted.items() if value is not None})
        response = self._send("POST", f"{_path(workflow, execution_id)}/sign", content=body)
        return _decoded(response, SignedAnswer, UnknownExecutionError)

    def manifest(self, workflow: str, execution_id: str) -> bytes:
        """Return the manifest of a result, gzipped as `decode_manifest` takes it.

        Raises
        ------
        ResultsPendingError
            If the execution has not ended.
        ApiError
            If there is none, or no answer.
        """
        response = self._send("GET", f"{_path(workflow, execution_id)}/manifest")
        if response.status_code == HTTPStatus.ACCEPTED:
            raise _pending(response, execution_id)
        if not response.is_success:
            raise _error(response, UnknownExecutionError)
        return gzip.compress(response.content, compresslevel=1)

    def _get(self, path: str, answer: type[T], *, missing: type[ApiError] = ApiError) -> T:
        return _decoded(self._send("GET", path), answer, missing)

    def _send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Any = None,
        timeout: float | None = None,
    ) -> "httpx.Response":
        import httpx

        failures = 0
        silence = httpx.USE_CLIENT_DEFAULT if timeout is None else timeout
        headers = {} if content is None else {"Content-Type": "application/json"}
        while True:
            failures += 1
            repeat = method == "GET" and self._retry.allows(failures)
            try:
                response = self._client().request(
                    method, path, content=content, params=params, headers=headers, timeout=silence
                )
            except httpx.TransportError as error:
                if not repeat:
                    raise ServerUnavailableError(
                        f"{self.base_url} cannot be reached ({type(error).__name__}: {error}); "
                        f"check {self._address} and that the server runs."
                    ) from error
                wait = None
            else:
                if not repeat or response.status_code not in self.repeated:
                    return response
                wait = parse_retry_after(response.headers.get("Retry-After"))
            time.sleep(self._retry.pause(failures, wait))

    def _client(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._http is None:
                headers = {
                    "Accept": "application/json",
                    "User-Agent": f"wildcast/{__version__}",
                    **self.authorization,
                }
                self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=self._timeout)
                # Whoever forgets to close the client leaves no open sockets behind.
                weakref.finalize(self, self._http.close)
            return self._http


class _Workflows(msgspec.Struct):
    workflows: dict[str, str]


def listed_files(metadata: ResultMetadata) -> dict[str, int] | None:
    """Return paths relative to the publication, and sizes in bytes; None if the metadata do not list every file.

    A file that this lacks reads as one that was never written, so a list of another form is as good as none.
    """
    if not metadata.output_files:
        return None
    if metadata.publication is not None and metadata.publication.files != len(metadata.output_files):
        return None
    prefix = f"{metadata.request_id}/"
    if not all(file.path.startswith(prefix) for file in metadata.output_files):
        return None
    return {file.path.removeprefix(prefix): file.size for file in metadata.output_files}


def _path(*segments: str) -> str:
    return "/".join(["/v1/infer", *(quote(segment, safe="") for segment in segments)])


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise InvalidUrlError("The API's address is no URL; give it as http://host:port.") from None
    if not valid or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidUrlError("The API's address must be http://host:port or https://…, without password and query.")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    if not token.isascii() or any(character.isspace() or not character.isprintable() for character in token):
        raise ValueError("The token has characters that no header can carry; was it copied whole, and nothing else?")
    return token


def _decoded(response: "httpx.Response", answer: type[T], missing: type[ApiError]) -> T:
    if not response.is_success:
        raise _error(response, missing)
    try:
        return msgspec.json.decode(response.content, type=answer)
    except msgspec.DecodeError as error:
        raise _unexpected(response, f"{error}") from error


def _pending(response: "httpx.Response", execution_id: str) -> ResultsPendingError:
    status = _decoded(response, Pending, ApiError).status
    return ResultsPendingError(f"{execution_id} is {status}: wait for it to end.", execution_id)


def _unexpected(response: "httpx.Response", why: str) -> UnexpectedAnswerError:
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    return UnexpectedAnswerError(
        f"{response.request.url.host} answered {response.status_code} with {kind} that is not this API's ({why}); "
        "is the address right, or does a proxy answer instead?",
        response.status_code,
    )


_ERRORS: Mapping[int, type[ApiError]] = {
    401: NotAuthorizedError,
    403: NotAuthorizedError,
    422: InvalidParametersError,
    429: ServerBusyError,
}


def _error(response: "httpx.Response", missing: type[ApiError]) -> ApiError:
    status = response.status_code
    if response.is_redirect:
        return _unexpected(response, "a redirect")
    body = parse_problem(response.content)
    if body is None:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ServerUnavailableError(f"{response.request.url.host} answered {status}; try again later.", status)
        return _unexpected(response, "no error of its form")
    kind = missing if status == HTTPStatus.NOT_FOUND else _ERRORS.get(status, ApiError)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = ServerUnavailableError
    sentence = body.said or f"The server answered {status}."
    error = kind(sentence, status, body.details if body.details is not None else body.detail)
    if isinstance(error, ServerBusyError):
        error.retry_after = parse_retry_after(response.headers.get("Retry-After"))
    return error
