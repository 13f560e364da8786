"""Typed values of the contract as JSON responses."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from wildcast_server.http.compression import CompressibleResponse

FRESH = {"Cache-Control": "no-store"}
"""For what is true now, or holds a signature."""


def answer(body: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Encode `body`: a struct, or plain JSON values; bytes are JSON already."""
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return CompressibleResponse(encoded, status, headers, media_type="application/json")
