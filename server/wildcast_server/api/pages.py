"""The OpenAPI document, and the page that shows it: all of it from here, for readers without a way to the internet."""

import importlib.resources
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import RedirectResponse, Response

from wildcast_server.api.answers import answer
from wildcast_server.api.documented import components
from wildcast_server.api.routes import readable
from wildcast_server.api.threads import Threads
from wildcast_server.http.compression import CompressibleResponse

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}
"""Swagger UI (Apache-2.0), as the package fastapi-offline carries it."""

KEPT = {"Cache-Control": "public, max-age=86400"}


def page_routes(title: str, document: Callable[[], dict[str, Any]], threads: Threads) -> APIRouter:
    """Build the routes of ``/docs`` and of what it needs; none of them is in the document itself.

    Parameters
    ----------
    title
        Of the page.
    document
        Makes the OpenAPI document.
    threads
        Where that is done, at the first request.
    """
    router = APIRouter()
    made: list[bytes] = []

    def make() -> None:
        made[:] = [msgspec.json.encode(with_components(document()))]

    @readable(router, "/openapi.json", summary="The OpenAPI document", include_in_schema=False)
    async def described() -> Response:
        if not made:
            await threads.run(make)
        return answer(made[0])

    @readable(router, "/docs", summary="The document as a page", include_in_schema=False)
    async def page() -> Response:
        # Relative, so that it holds behind a proxy that adds a prefix; no badge of a validator on the internet.
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True, "displayRequestDuration": True},
        )

    @readable(router, "/docs/", summary="The page without the slash", include_in_schema=False)
    async def without_slash() -> Response:
        # Relative as well; with the slash, the page would look for its parts one level too deep.
        return RedirectResponse("../docs", HTTPStatus.PERMANENT_REDIRECT)

    @readable(router, "/docs/{name}", summary="A part of the page", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return CompressibleResponse(await threads.run(_read, name), 200, KEPT, media_type=ASSETS[name])

    return router


def with_components(document: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas that the routes' answers refer to."""
    schemas = document.get("components", {}).get("schemas", {})
    return {**document, "components": {"schemas": {**schemas, **components()}}}


def _read(name: str) -> bytes:
    return (importlib.resources.files("fastapi_offline") / "static" / name).read_bytes()
