"""The body of every error that the API answers with."""

from collections.abc import Mapping
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
    return Response(body, status, headers, media_type="application/json")
