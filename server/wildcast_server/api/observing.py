"""Middleware around the whole app: counting answers, and taking a path with a slash at its end for the same without."""

import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wildcast_server.api.routes import INFER
from wildcast_server.metrics import UNKNOWN_ROUTE, Metrics

_AS_IT_IS = re.compile(rf"{INFER}/[^/]+/[^/]+/results/.|/docs/$")
"""Such a path names a file, and a slash at its end belongs to the name; or a page, whose relative links need it."""


class TrailingSlash:
    """Answers ``/health/`` as ``/health``.

    A redirect would do, but for clients that follow none, and for proxies behind which it would name the wrong scheme.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        path, raw_path = scope.get("path", ""), scope.get("raw_path", b"")
        # One that was sent as %2F is a character of a name.
        if raw_path.endswith(b"/") and path != "/" and not _AS_IT_IS.match(path):
            scope = {**scope, "path": path[:-1], "raw_path": raw_path[:-1]}
        await self._app(scope, receive, send)


class CountAnswers:
    """Reports each answer to the metrics: route, method, status, duration."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when its answer has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # An answer that never began is the server's 500.
        status = 500
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.answered(_template(scope), scope["method"], status, seconds)


def _template(scope: Scope) -> str:
    """Return the template of the route that answered; those of an included router lack what they hang below."""
    template = getattr(scope.get("route"), "path", None)
    if template is None:
        return UNKNOWN_ROUTE
    return template if template.startswith(INFER) or not scope["path"].startswith(INFER) else f"{INFER}{template}"
