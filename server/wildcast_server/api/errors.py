"""Which HTTP answer each of our errors becomes."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from wildcast.contract.naming import InvalidPathError
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Pending
from wildcast_server import errors
from wildcast_server.api.answers import FRESH, answer
from wildcast_server.api.routes import allowed_methods
from wildcast_server.domain.parameters import as_sentence
from wildcast_server.http.problems import problem

logger = logging.getLogger(__name__)

RETRY_AFTER = {"Retry-After": "5"}
"""Seconds; for what may work a moment later."""

POLL_AFTER = {"Retry-After": "2", **FRESH}
"""Seconds; for a result that is still to come."""

GONE = {
    ExecutionStatus.EXPIRED: HTTPStatus.BAD_REQUEST,
    ExecutionStatus.FAILED: HTTPStatus.NOT_FOUND,
    ExecutionStatus.CANCELLED: HTTPStatus.NOT_FOUND,
}
"""The answers for executions that have no results any more, or never will; existing clients depend on these."""

STATUS: dict[type[Exception], HTTPStatus] = {
    errors.UnknownWorkflowError: HTTPStatus.NOT_FOUND,
    errors.UnknownExecutionError: HTTPStatus.NOT_FOUND,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.InvalidParametersError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.StatusConflictError: HTTPStatus.CONFLICT,
    errors.IdempotencyConflictError: HTTPStatus.CONFLICT,
    errors.ForbiddenAddressError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.QueueFullError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ServiceUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NetworkError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreError: HTTPStatus.BAD_GATEWAY,
    InvalidPathError: HTTPStatus.BAD_REQUEST,
}
"""The most specific class that is listed decides."""


def status_of(error: Exception) -> HTTPStatus:
    """Return the status that `STATUS` gives the error's class, else 500."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def install(app: FastAPI) -> None:
    """Make every error of `app` leave as an error body with `error`, `details` and `detail`."""
    for kind in (errors.WildcastServerError, InvalidPathError):
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(errors.NoResultsError, _no_results)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(_request: Request, error: Exception) -> Response:
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("answering %d: %s", status, error)
    headers = RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    if isinstance(error, errors.QueueFullError):
        headers = {"Retry-After": str(error.retry_after)}
    return problem(status, _for_clients(error), details=getattr(error, "fields", None), headers=headers)


def _for_clients(error: Exception) -> str:
    """Return the sentence without the server's own paths; its log has them."""
    if isinstance(error, errors.ServiceUnavailableError):
        return error.for_clients
    uri = getattr(error, "uri", "")
    if not uri.startswith("file:"):
        return str(error)
    directory, _, name = uri.rpartition("/")
    return str(error).replace(uri, name).replace(f"{directory}/", "").replace(directory, "the store")


async def _no_results(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.NoResultsError)  # noqa: S101 - registered for nothing else
    if error.status in GONE:
        return problem(GONE[error.status], str(error), details={"status": error.status})
    return answer(Pending(message=str(error), status=error.status), HTTPStatus.ACCEPTED, POLL_AFTER)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    fields = [{"field": _field(entry), "message": entry["msg"], "type": entry["type"]} for entry in error.errors()]
    if any(entry["loc"][0] != "body" for entry in error.errors()):
        sentence = f"the request cannot be understood: {as_sentence(fields)}"
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence, details=fields)
    sentence = f"the request's body is not {_body_of(request)}: {as_sentence(fields)}"
    if "json" not in request.headers.get("content-type", ""):
        sentence += "; send JSON, with the header Content-Type: application/json"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence, details=fields)


def _body_of(request: Request) -> str:
    """Say what a request's body is to be."""
    if "execution_id" in request.path_params:
        return f"what {request.scope['path'].rpartition('/')[2]} takes"
    return '{"parameters": {…}}'


def _field(entry: dict[str, Any]) -> str:
    # The place of a JSON error is a position in the text, and no field.
    return "" if entry["type"] == "json_invalid" else ".".join(map(str, entry["loc"][1:]))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    sentence, headers = str(error.detail), dict(error.headers or {})
    match error.status_code:
        case HTTPStatus.BAD_REQUEST:
            # The framework's alone: a body that is no UTF-8, is nested too deeply, or has too long a number.
            sentence = f"the request's body cannot be read as JSON: send {_body_of(request)}, in UTF-8"
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            # The framework knows the methods of the first route of that path only.
            headers["Allow"] = ", ".join(allowed_methods(request))
            sentence = f"{request.method} is not for this path; it takes {headers['Allow']}"
        case HTTPStatus.NOT_FOUND if sentence == HTTPStatus.NOT_FOUND.phrase:
            sentence = "there is nothing at this path; /docs shows what there is"
        case HTTPStatus.SERVICE_UNAVAILABLE:
            headers = {**RETRY_AFTER, **headers}
    return problem(error.status_code, sentence, headers=headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, so that the server logs it with its traceback.
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, f"the server met an unexpected {type(error).__name__}; its log says more"
    )
