"""Sends an object: whole or a range of it, to GET and HEAD."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from wildcast_server.errors import StoreIoError
from wildcast_server.http.conditions import http_date, quoted_etag
from wildcast_server.http.ranges import Span


@dataclass(frozen=True)
class Representation:
    """What the headers say of an object."""

    size: int
    """Of the whole object, in bytes."""
    etag: str | None
    last_modified: datetime
    content_type: str
    cache_control: str

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer about the object has, a 304 included."""
        fields = {
            "Accept-Ranges": "bytes",
            "Cache-Control": self.cache_control,
            "Last-Modified": http_date(self.last_modified),
        }
        etag = quoted_etag(self.etag)
        return fields if etag is None else fields | {"ETag": etag}


class _ObjectBody(StreamingResponse):
    """Closes its source however the sending ends: also when the client goes away."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], status_code: int, headers: dict[str, str]) -> None:
        super().__init__(chunks, status_code, headers)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().stream_response(send)


def object_response(representation: Representation, chunks: AsyncIterator[bytes], span: Span | None = None) -> Response:
    """Answer a GET: 200 with the whole object, or 206 with the bytes of `span`, which are what `chunks` yields.

    If `chunks` raises, or yields more or fewer bytes than announced, the exception leaves the application, so that the
    server breaks the connection: no client can take the part that it has for the whole.
    """
    start, stop = (0, representation.size) if span is None else (span.start, span.stop)
    headers = _headers(representation, stop - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{representation.size}"
    return _ObjectBody(_exactly(chunks, stop - start), 200 if span is None else 206, headers)


def head_response(representation: Representation) -> Response:
    """Answer a HEAD: the headers of a 200 without its body."""
    return Response(None, 200, _headers(representation, representation.size))


def not_modified_response(representation: Representation) -> Response:
    """Answer that the client has the object already."""
    return Response(None, 304, representation.headers())


def _headers(representation: Representation, length: int) -> dict[str, str]:
    return representation.headers() | {
        "Content-Length": str(length),
        "Content-Type": representation.content_type,
        "X-Content-Type-Options": "nosniff",
    }


async def _exactly(chunks: AsyncIterator[bytes], length: int) -> AsyncGenerator[bytes, None]:
    sent = 0
    try:
        async for chunk in chunks:
            sent += len(chunk)
            if sent > length:
                raise StoreIoError("the store sent more bytes of an object than it had announced")
            yield chunk
    finally:
        await close(chunks)
    if sent != length:
        raise StoreIoError("the store sent fewer bytes of an object than it had announced")


async def close(chunks: AsyncIterator[bytes]) -> None:
    """End a stream that is not read to its end, where it can be ended."""
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()
