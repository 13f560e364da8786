"""The body of every error that the API answers with."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from wildcast.contract.wire import ErrorBody


def problem(status: int, error: str, details: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an `ErrorBody`.

    Parameters
    ----------
    status
        The HTTP status.
    error
        What went wrong, in one sentence; repeated as ``detail`` for readers that know FastAPI's form.
    details
        Machine-readable particulars, of what msgspec can write as JSON.
    headers
        More of them, such as ``Retry-After``.
    """
    body = msgspec.json.encode(ErrorBody(error=error, details=details, detail=error))
    # Some statuses, 404 among them, may be kept by a cache that is not told otherwise (RFC 9110 §15.1).
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type="application/json")


def another_version(what: str, etag: str | None) -> Response:
    """Answer 412: `what`, whose ETag (quoted) this is, is not the version that the request's conditions want."""
    headers = None if etag is None else {"ETag": etag}
    sentence = f"the {what} is another version than the one that the request names"
    return problem(HTTPStatus.PRECONDITION_FAILED, sentence, headers=headers)
