"""The flow of one call: it is sent, sent again where that may help, and its answer is read."""

from typing import TYPE_CHECKING

from wildcast._calls import Call
from wildcast._endpoint import Endpoint
from wildcast._flows import Flow, Request, Send, Sleep, T
from wildcast._retry import parse_retry_after

if TYPE_CHECKING:
    import httpx


def asked(endpoint: Endpoint, call: Call[T]) -> Flow[T]:
    """Make a call; what may be repeated is, after a broken connection and the statuses of `Endpoint.repeated`.

    Raises
    ------
    ApiError
        If the server answers with an error, or not at all.
    """
    return call.decode((yield from sent(endpoint, call.request, is_repeatable=call.is_repeatable)))


def asked_once(endpoint: Endpoint, call: Call[T]) -> Flow[T]:
    """Make a call, and leave it to the caller whether to repeat it; raises as `asked`."""
    return call.decode((yield from sent(endpoint, call.request, is_repeatable=False)))


def sent(endpoint: Endpoint, request: Request, *, is_repeatable: bool) -> "Flow[httpx.Response]":
    """Send a request, and return its answer, whatever it is.

    Raises
    ------
    ServerUnavailableError, UnexpectedAnswerError, ApiError
        If there is none, as `Endpoint.failure` says.
    """
    import httpx

    failures = 0
    while True:
        failures += 1
        may_repeat = is_repeatable and endpoint.retry_policy.allows(failures)
        try:
            response: httpx.Response = yield Send(request)
        except httpx.RequestError as error:
            # What cannot be sent can be sent at no other time either.
            if not may_repeat or isinstance(error, httpx.LocalProtocolError):
                raise endpoint.failure(error) from error
            wait = None
        else:
            if not may_repeat or response.status_code not in endpoint.repeated:
                return response
            wait = parse_retry_after(response.headers.get("Retry-After"))
        yield Sleep(endpoint.retry_policy.pause(failures, wait))
