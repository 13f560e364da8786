"""Registering routes."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def readable(router: APIRouter, path: str, *, summary: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for GET, and for HEAD, which every server has to answer as well (RFC 9110 §9.1).

    HEAD is left out of the documentation: one operation is shown once. The server sends no body to it.
    """

    def register(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(path, endpoint, methods=["GET"], summary=summary, **options)
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
        return endpoint

    return register
