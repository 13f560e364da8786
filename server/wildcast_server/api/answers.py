"""Typed values of the contract as JSON responses."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response


def answer(body: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Encode `body` (a struct, or plain JSON values); msgspec takes 100,000 files in milliseconds."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")
