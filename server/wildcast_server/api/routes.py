"""Registering routes."""

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.routing import Match

from wildcast_server.api.documented import Responses, any_error

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

INFER = "/v1/infer"
"""What the paths of workflows, executions and results begin with."""

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def readable(
    router: APIRouter,
    path: str,
    *,
    summary: str,
    description: str | None = None,
    responses: Responses | None = None,
    **options: Any,
) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for GET, and for HEAD, which every server has to answer as well (RFC 9110 §9.1).

    HEAD is left out of the documentation: one operation is shown once. The server sends no body to it.

    Parameters
    ----------
    router, path
        Where.
    summary, description
        A few words, and some sentences in Markdown, for the documentation.
    responses
        What it answers, from the helpers of `documented`.
    **options
        More of ``APIRouter.add_api_route``'s.
    """
    shown = {"summary": summary, "description": description, "responses": responses, **options}
    return _registered(router, path, "GET", "HEAD", shown)


def writing(
    router: APIRouter,
    path: str,
    *,
    summary: str,
    description: str | None = None,
    responses: Responses | None = None,
    **options: Any,
) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for POST; the parameters are those of `readable`."""
    shown = {"summary": summary, "description": description, "responses": responses, **options}
    return _registered(router, path, "POST", None, shown)


def deleting(
    router: APIRouter,
    path: str,
    *,
    summary: str,
    description: str | None = None,
    responses: Responses | None = None,
    **options: Any,
) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for DELETE; the parameters are those of `readable`."""
    shown = {"summary": summary, "description": description, "responses": responses, **options}
    return _registered(router, path, "DELETE", None, shown)


def _registered(
    router: APIRouter, path: str, method: str, hidden: str | None, shown: dict[str, Any]
) -> Callable[[Endpoint], Endpoint]:
    def register(endpoint: Endpoint) -> Endpoint:
        # Every endpoint builds its own answer, and documents it: the framework need not guess one.
        documented = {**shown, "responses": {**(shown["responses"] or {}), **any_error()}}
        router.add_api_route(path, endpoint, methods=[method], response_class=Response, **documented)
        if hidden is not None:
            # The same route: to look into the endpoint once more would be half of what it takes to build an app.
            twin = copy(cast("APIRoute", router.routes[-1]))
            twin.methods, twin.include_in_schema = {hidden}, False
            router.routes.append(twin)
        return endpoint

    return register


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def allowed_methods(request: Request) -> list[str]:
    """Return the methods that the path of `request` takes, for ``Allow`` (RFC 9110 §10.2.1)."""
    app: FastAPI = request.app
    # As the request came: the route that refused it has left its own parameters behind.
    asked = ({**request.scope, "method": method, "path_params": {}} for method in METHODS)
    return [scope["method"] for scope in asked if any(route.matches(scope)[0] is Match.FULL for route in app.routes)]
