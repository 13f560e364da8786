"""Sends an object: whole, a range of it, or several, to GET and HEAD."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from wildcast_server.errors import StoreIoError
from wildcast_server.http.conditions import http_date, quoted_etag
from wildcast_server.http.ranges import Span

OpenSpan = Callable[[Span], Awaitable[AsyncIterator[bytes]]]
"""Begins to read just those bytes."""


@dataclass(frozen=True)
class Representation:
    """What the headers say of an object."""

    size: int
    """Of the whole object, in bytes."""
    etag: str | None
    last_modified: datetime
    content_type: str
    cache_control: str
    disposition: str | None = None
    """As `content_disposition` gives it."""

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer about the object has, a 304 included."""
        fields = {
            "Accept-Ranges": "bytes",
            "Cache-Control": self.cache_control,
            "Last-Modified": http_date(self.last_modified),
        }
        etag = quoted_etag(self.etag)
        return fields if etag is None else fields | {"ETag": etag}


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


class _ObjectBody(StreamingResponse):
    """Closes its source however the sending ends: also when the client goes away, before the first byte even."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        status_code: int,
        headers: dict[str, str],
        source: AsyncIterator[bytes] | None = None,
    ) -> None:
        super().__init__(chunks, status_code, headers)
        self._chunks = chunks
        self._source = source

    async def stream_response(self, send: Send) -> None:
        try:
            async with aclosing(self._chunks):
                await super().stream_response(send)
        finally:
            if self._source is not None:
                await close(self._source)


def object_response(representation: Representation, chunks: AsyncIterator[bytes], span: Span | None = None) -> Response:
    """Answer a GET: 200 with the whole object, or 206 with the bytes of `span`, which are what `chunks` yields.

    If `chunks` raises, or yields more or fewer bytes than announced, the exception leaves the application, so that the
    server breaks the connection: no client can take the part that it has for the whole.
    """
    wanted = Span(0, representation.size) if span is None else span
    headers = _headers(representation, wanted.length)
    if span is not None:
        headers["Content-Range"] = _content_range(span, representation.size)
    return _ObjectBody(_exactly(chunks, wanted.length), 200 if span is None else 206, headers, chunks)


def ranges_response(representation: Representation, spans: Sequence[Span], open_span: OpenSpan) -> Response:
    """Answer a GET for several ranges: 206 as ``multipart/byteranges`` (RFC 9110 §14.6), one part after the other.

    A part's bytes are asked for when it is their turn. What is said of failures in `object_response` holds here too.
    """
    boundary = secrets.token_hex(16)
    heads = [_part_head(representation, span, boundary) for span in spans]
    # The line break before a boundary belongs to it; before the first there is nothing to end.
    heads[0] = heads[0].removeprefix(b"\r\n")
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(span.length for span in spans) + len(end)
    headers = _headers(representation, length) | {"Content-Type": f"multipart/byteranges; boundary={boundary}"}
    return _ObjectBody(_multipart(list(zip(heads, spans, strict=True)), end, open_span), 206, headers)


def head_response(representation: Representation) -> Response:
    """Answer a HEAD: the headers of a 200 without its body."""
    return Response(None, 200, _headers(representation, representation.size))


def not_modified_response(representation: Representation) -> Response:
    """Answer that the client has the object already."""
    return Response(None, 304, representation.headers())


def _headers(representation: Representation, length: int) -> dict[str, str]:
    fields = representation.headers() | {
        "Content-Length": str(length),
        "Content-Type": representation.content_type,
        "X-Content-Type-Options": "nosniff",
    }
    if representation.disposition is not None:
        fields["Content-Disposition"] = representation.disposition
    return fields


def _content_range(span: Span, size: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size}"


def _part_head(representation: Representation, span: Span, boundary: str) -> bytes:
    return (
        f"\r\n--{boundary}\r\n"
        f"Content-Type: {representation.content_type}\r\n"
        f"Content-Range: {_content_range(span, representation.size)}\r\n\r\n"
    ).encode()


async def _multipart(
    parts: Sequence[tuple[bytes, Span]], end: bytes, open_span: OpenSpan
) -> AsyncGenerator[bytes, None]:
    for head, span in parts:
        chunks = await open_span(span)
        try:
            yield head
            async with aclosing(_exactly(chunks, span.length)) as exact:
                async for chunk in exact:
                    yield chunk
        finally:
            await close(chunks)
    yield end


async def _exactly(chunks: AsyncIterator[bytes], length: int) -> AsyncGenerator[bytes, None]:
    sent = 0
    async for chunk in chunks:
        sent += len(chunk)
        if sent > length:
            raise StoreIoError("the store sent more bytes of an object than it had announced")
        yield chunk
    if sent != length:
        raise StoreIoError("the store sent fewer bytes of an object than it had announced")


async def close(chunks: AsyncIterator[bytes]) -> None:
    """End a stream that is not read to its end, where it can be ended."""
    if isinstance(chunks, _Closable):
        await chunks.aclose()
