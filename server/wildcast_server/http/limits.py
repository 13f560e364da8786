"""Bounds on what a client may send."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wildcast_server.http.problems import problem


class BodyLimit:
    """Middleware that reads a request's body before the app does, and answers 413 to more than `max_bytes`.

    For apps whose bodies are small: the whole body is held in memory.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        first = await self._whole_body(scope, receive)
        if first is None:
            sentence = f"the request's body is longer than the {self._max_bytes} bytes that this server reads"
            refusal = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        waiting = [first]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)

    async def _whole_body(self, scope: Scope, receive: Receive) -> Message | None:
        """Return the body as one message, a disconnect as it came, or None for a body that is too long."""
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > self._max_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                return None
            if not message.get("more_body", False):
                return {"type": "http.request", "body": bytes(body), "more_body": False}
