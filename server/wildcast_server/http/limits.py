"""Bounds on what a client may send."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wildcast_server.http.problems import problem


class _TooLongError(Exception):
    """The body went over the limit while it was read."""


class BodyLimit:
    """Middleware that answers 413 to a body of more than `max_bytes`, announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise _TooLongError
            return message

        try:
            await self._app(scope, counted, send)
        except _TooLongError:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        sentence = f"the request's body is longer than the {self._max_bytes} bytes that this server reads"
        await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence, headers={"Connection": "close"})(
            scope, receive, send
        )
