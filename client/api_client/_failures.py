"""Turning what went wrong into the SDK's exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx

import wildcast
from api_client.exceptions import (
    APIConnectionError,
    BadRequestError,
    Earth2StudioAPIError,
    InferenceRequestNotFoundError,
    InternalServerError,
    RequestTimeoutError,
    ResultFileNotFoundError,
)
from wildcast._problems import parse_problem
from wildcast._waiting import naming

LONGEST_TEXT = 300
"""Characters of an error's body that are shown where it is no JSON; what is longer is a page for a browser."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what `wildcast` raises inside as one of the SDK's exceptions.

    A refusal keeps its status, and only a file that the result never had is "not found".
    """
    try:
        yield
    except wildcast.ReadError as error:
        raise _unread(error) from error
    except wildcast.ServerUnavailableError as error:
        if isinstance(error.__cause__, httpx.TimeoutException):
            raise RequestTimeoutError(f"The server stayed silent for too long: {error}") from error
        raise APIConnectionError(str(error)) from error
    except wildcast.ApiError as error:
        # Without the advice, which names methods of another client.
        raise _of_status(error.status, error.said, error.details) from error
    except (wildcast.WildcastError, httpx.HTTPError) as error:
        raise Earth2StudioAPIError(str(error)) from error


@contextmanager
def naming_execution(execution_id: str) -> Iterator[None]:
    """Make the message of what is raised inside name an execution, so that it can be waited for again."""
    try:
        yield
    except Earth2StudioAPIError as error:
        error.message = naming(error.message, execution_id)
        error.args = (error.message,)
        raise


def is_outage(error: Exception) -> bool:
    """Whether an error means that the server is gone for now: restarting, or behind a proxy that says so."""
    if isinstance(error, APIConnectionError | RequestTimeoutError):
        return True
    status = error.status_code if isinstance(error, Earth2StudioAPIError) else None
    return status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR


def error_of(response: httpx.Response) -> Earth2StudioAPIError:
    """Return the exception for an answer that is no success, in wildcast's form of errors or in FastAPI's."""
    return _of_status(response.status_code, *_account(response))


def _unread(error: wildcast.ReadError) -> Earth2StudioAPIError:
    if isinstance(error, wildcast.MissingFileError):
        return ResultFileNotFoundError(str(error))
    if isinstance(error, wildcast.StoreUnavailableError) and error.status is None:
        return APIConnectionError(str(error))
    return _of_status(error.status, str(error))


def _of_status(status: int | None, message: str, details: Any = None) -> Earth2StudioAPIError:
    if status == HTTPStatus.BAD_REQUEST:
        return BadRequestError(message, details)
    if status == HTTPStatus.NOT_FOUND:
        return InferenceRequestNotFoundError(message, details)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return InternalServerError(message, details)
    return Earth2StudioAPIError(message, status, details)


def unexpected(response: httpx.Response, why: Exception) -> Earth2StudioAPIError:
    """Return the exception for a success whose body is not the API's."""
    return Earth2StudioAPIError(
        f"{response.request.url.host} answered with something that is not this API's ({type(why).__name__}: {why}); "
        "is the address right, or does a proxy answer instead?",
        response.status_code,
    )


def pending(response: httpx.Response) -> Earth2StudioAPIError:
    """Return the exception for results that are not there yet (202)."""
    body = body_of(response)
    detail = body.get("detail")
    said = detail if isinstance(detail, dict) else body
    message = said.get("message") or "The results are not there yet; wait_for_completion waits for them."
    return Earth2StudioAPIError(message, HTTPStatus.ACCEPTED.value, said.get("status"))


def body_of(response: httpx.Response) -> dict[str, Any]:
    """Return a body's JSON object; an empty one for any other body."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _account(response: httpx.Response) -> tuple[str, Any]:
    """Return what the server says went wrong, and the particulars."""
    problem = parse_problem(response.content)
    if problem is None or problem.said is None:
        return _otherwise(response), None if problem is None else problem.detail
    # FastAPI puts all that a route says below `detail`; as a list, it says which fields are wrong.
    is_below = isinstance(problem.detail, dict) and not problem.error
    return problem.said, _particulars(problem.detail if is_below else body_of(response))


def _particulars(said: dict[str, Any]) -> Any:
    parts = [said.get("details"), said.get("error_message")]
    texts = [part for part in parts if part]
    if len(texts) > 1 and all(isinstance(text, str) for text in texts):
        return ": ".join(texts)
    return texts[0] if texts else None


def _otherwise(response: httpx.Response) -> str:
    if response.has_redirect_location:
        return f"The server redirects to {_without_query(response.headers['Location'])}; give that address."
    text = response.text.strip()
    if not text or len(text) > LONGEST_TEXT or text.startswith(("<", "{")):
        return f"The server answered {response.status_code} {response.reason_phrase}."
    return text


def _without_query(location: str) -> str:
    return location.partition("?")[0]
