"""The edge's error answers: CloudFront's own, and those of the S3 origin behind it.

Both are XML. CloudFront's have no RequestId and name CloudFront as the server; the origin's have one.
Only a signature leads to 403, and only a missing object to 404: a store that fails is 5xx.
"""

import secrets
from collections.abc import Mapping
from xml.sax.saxutils import escape

from starlette.responses import Response

from wildcast_server.edge.target import TargetError, TargetTooLongError
from wildcast_server.errors import InvalidKeyError, NetworkError, NotFoundError
from wildcast_server.signing.verify import Refusal, RefusedError

MESSAGES = {
    Refusal.MISSING_KEY: "Missing Key-Pair-Id query parameter or cookie value",
    Refusal.INVALID_KEY: "Unknown Key",
    Refusal.ACCESS_DENIED: "Access denied",
}

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_NO_STORE = {"Cache-Control": "no-store"}


def answer_to(error: Exception) -> Response:
    """Answer to a request that failed; never in the words of the store or of the signature's check."""
    match error:
        case RefusedError(code=code):
            return _edge_error(403, code.value, MESSAGES[code])
        case TargetTooLongError():
            return _edge_error(414, "InvalidURI", "The specified URI is too long.")
        case TargetError() | InvalidKeyError():
            return _edge_error(400, "InvalidURI", "Couldn't parse the specified URI.")
        case NotFoundError():
            return no_such_key()
        case NetworkError():
            return _origin_error(504, "GatewayTimeout", "The store could not be reached, or did not answer in time.")
        case _:
            return _origin_error(502, "BadGateway", "The store failed.")


def method_not_allowed(allowed: str) -> Response:
    """Answer to any method but those that read."""
    message = "The specified method is not allowed against this resource."
    return _edge_error(405, "MethodNotAllowed", message, {"Allow": allowed})


def no_such_key() -> Response:
    """Answer for an object that is not there."""
    return _origin_error(404, "NoSuchKey", "The specified key does not exist.")


def invalid_range(size: int) -> Response:
    """Answer to a range that begins at or behind the end of an object of `size` bytes."""
    message = "The requested range is not satisfiable"
    return _origin_error(416, "InvalidRange", message, {"Content-Range": f"bytes */{size}"})


def precondition_failed() -> Response:
    """Answer where ``If-Match`` or ``If-Unmodified-Since`` names another version of the object than there is."""
    message = "At least one of the pre-conditions you specified did not hold"
    return _origin_error(412, "PreconditionFailed", message)


def _edge_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = f"{_DECLARATION}<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(body, status, {"Server": "CloudFront", **_NO_STORE, **(headers or {})}, "text/xml")


def _origin_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    request_id = secrets.token_hex(8).upper()
    body = (
        f"{_DECLARATION}<Error><Code>{code}</Code><Message>{escape(message)}</Message>"
        f"<RequestId>{request_id}</RequestId></Error>"
    )
    return Response(body, status, {"x-amz-request-id": request_id, **_NO_STORE, **(headers or {})}, "application/xml")
