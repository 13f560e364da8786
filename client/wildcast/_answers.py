"""What the API's answers mean: typed values, or errors of one tree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from wildcast._errors import (
    ApiError,
    ConflictError,
    InvalidParametersError,
    NotAuthorizedError,
    ResultsPendingError,
    ServerBusyError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    UnsupportedError,
)
from wildcast._problems import parse_problem
from wildcast._retry import parse_retry_after
from wildcast.contract.wire import Health, Pending

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

Decode = Callable[["httpx.Response"], T]
"""Reads an answer: returns its value, or raises what it says."""

_ERRORS: Mapping[int, type[ApiError]] = {
    401: NotAuthorizedError,
    403: NotAuthorizedError,
    405: UnsupportedError,
    422: InvalidParametersError,
    429: ServerBusyError,
    501: UnsupportedError,
}

BESIDE_PARAMETERS = frozenset({"labels", "retention_seconds", "webhook"})
"""What a submission holds that no schema of a workflow tells of."""

_NO_ROUTE = "Not Found"
"""The whole of what FastAPI says for a path that a server does not have at all."""


@dataclass(frozen=True, slots=True)
class Meanings:
    """What errors mean for one call, where that is more than they mean for any.

    Parameters
    ----------
    missing
        What a 404 says.
    conflict
        What a 409 says.
    is_addition
        Whether the call is one of ours, which Earth2Studio's server does not have.
    takes_parameters
        Whether the call holds a workflow's parameters, so that a 422 can be about them.
    names_files
        Whether a 404 can be about a file as well.
    """

    missing: type[ApiError] = ApiError
    conflict: type[ApiError] = ConflictError
    is_addition: bool = False
    takes_parameters: bool = False
    names_files: bool = False

    def advises(self, error: ApiError) -> bool:
        """Whether what an error's class advises has to do with what is wrong."""
        if isinstance(error, InvalidParametersError):
            names = [str(field.get("field", "")).partition(".")[0] for field in error.fields]
            return self.takes_parameters and any(name not in BESIDE_PARAMETERS for name in names)
        return not (self.names_files and isinstance(error, self.missing))

    def kind(self, status: int, *, is_no_route: bool) -> type[ApiError]:
        """Return the error's class; `is_no_route`: the server does not have the path at all."""
        if self.is_addition and is_no_route:
            return UnsupportedError
        match status:
            case HTTPStatus.NOT_FOUND:
                return self.missing
            case HTTPStatus.CONFLICT:
                return self.conflict
            case _:
                usual = ServerUnavailableError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ApiError
                return _ERRORS.get(status, usual)


ANY_CALL = Meanings()


def decoded(response: "httpx.Response", answer: type[T], meanings: Meanings = ANY_CALL) -> T:
    """Return what an answer holds.

    Parameters
    ----------
    response
        The answer, its body read.
    answer
        Of which type it is to be.
    meanings
        What errors mean for this call.

    Raises
    ------
    ApiError
        If it is an error, or nothing of that type.
    """
    check(response, meanings)
    try:
        return msgspec.json.decode(response.content, type=answer)
    except msgspec.DecodeError as error:
        found = _with_nulls(response.content, answer)
        if found is None:
            raise unexpected(response, f"{error}") from error
        return found


def _with_nulls(body: bytes, answer: type[T]) -> T | None:
    """Read an answer whose server leaves out what it does not know, as Earth2Studio's does; None if it is another."""
    if not (isinstance(answer, type) and issubclass(answer, msgspec.Struct)):
        return None
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert({**_nulls(answer), **given}, answer, strict=False)
    except msgspec.DecodeError:
        return None


_ASSUMED: Mapping[str, Any] = {"parameters": {}, "output_files": (), "storage_type": "server"}
"""What a member is that cannot be null, where it is left out."""


def _nulls(answer: type[msgspec.Struct]) -> dict[str, Any]:
    required = [field for field in msgspec.structs.fields(answer) if field.required]
    nullable = {field.name: None for field in required if NoneType in getattr(field.type, "__args__", ())}
    return nullable | {field.name: _ASSUMED[field.name] for field in required if field.name in _ASSUMED}


def check(response: "httpx.Response", meanings: Meanings = ANY_CALL) -> None:
    """Raise what an answer says that is no success."""
    if not response.is_success:
        raise error_of(response, meanings)


def pending(response: "httpx.Response", execution_id: str) -> ResultsPendingError:
    """Return the error for results that are not there yet (202), from a body of ours or below FastAPI's ``detail``."""
    body = decoded(response, dict[str, Any])
    detail = body.get("detail")
    try:
        status: str = msgspec.convert(detail if isinstance(detail, dict) else body, Pending).status
    except msgspec.ValidationError:
        status = "not completed"
    return ResultsPendingError(
        f"{execution_id} is {status}, and has no results so far: wait for it to end, or for its first file if partial "
        "results will do.",
        execution_id,
    )


def health(response: "httpx.Response") -> Health:
    """Read how a server is; an unhealthy one says so with 503, and that is an answer too."""
    if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
        return decoded(response, Health)
    problem = parse_problem(response.content)
    if problem is None:
        raise error_of(response)
    return Health(status="unhealthy", timestamp=None, error=problem.said)


def unexpected(response: "httpx.Response", why: str) -> UnexpectedAnswerError:
    """Return the error for an answer that is not the API's."""
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    return UnexpectedAnswerError(
        f"{_host(response)} answered {response.status_code} with {kind} that is not this API's ({why}); "
        "is the address right, or does a proxy answer instead?",
        response.status_code,
    )


def _host(response: "httpx.Response") -> str:
    return response.request.url.netloc.decode()


def error_of(response: "httpx.Response", meanings: Meanings = ANY_CALL) -> ApiError:
    """Return the error that an answer is."""
    status = response.status_code
    if response.is_redirect:
        return unexpected(response, "a redirect")
    body = parse_problem(response.content)
    if body is None:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ServerUnavailableError(f"{_host(response)} answered {status}; try again later.", status)
        return unexpected(response, "no error of its form")
    kind = meanings.kind(status, is_no_route=body.error is None and body.detail == _NO_ROUTE)
    said = body.said or f"The server answered {status}."
    error = kind(said, status, body.details if body.details is not None else body.detail)
    if meanings.advises(error):
        error.args = (kind.advised(said),)
    if isinstance(error, ServerBusyError | ServerUnavailableError):
        error.retry_after = parse_retry_after(response.headers.get("Retry-After"))
    return error
