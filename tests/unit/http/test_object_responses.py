"""Sending an object: headers, and streams that do not end as announced."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from datetime import UTC, datetime
from typing import Any

import pytest

from wildcast_server.errors import StoreError, StoreIoError
from wildcast_server.http.ranges import Span
from wildcast_server.http.responses import Representation, head_response, not_modified_response, object_response

MODIFIED = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEN = Representation(10, "tag", MODIFIED, "text/x-ten", "no-cache")
SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}


class Source:
    """Chunks, and whether their stream was closed."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.closed = False
        self.stream = self._stream(chunks, error)

    async def _stream(self, chunks: tuple[bytes, ...], error: Exception | None) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in chunks:
                yield chunk
            if error:
                raise error
        finally:
            self.closed = True


async def never() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def run(
    source: Source, representation: Representation = TEN, span: Span | None = None
) -> list[MutableMapping[str, Any]]:
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    asyncio.run(object_response(representation, source.stream, span)(SCOPE, never, send))
    return messages


def body_of(messages: list[MutableMapping[str, Any]]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def test_an_object_is_sent_chunk_by_chunk() -> None:
    """200, in the chunks of the store, and the stream is closed."""
    source = Source(b"01234", b"56789")
    messages = run(source)
    assert messages[0]["status"] == 200
    assert [message.get("body") for message in messages[1:]] == [b"01234", b"56789", b""]
    assert source.closed


def test_a_span_says_where_it_lies() -> None:
    """206 with the range, both ends inclusive, and its own length."""
    messages = run(Source(b"345"), span=Span(3, 6))
    headers = dict(messages[0]["headers"])
    assert messages[0]["status"] == 206
    assert headers[b"content-range"] == b"bytes 3-5/10"
    assert headers[b"content-length"] == b"3"


@pytest.mark.parametrize("chunks", [(), (b"01234",), (b"01234", b"5678")])
def test_a_stream_that_is_short_is_an_error(chunks: tuple[bytes, ...]) -> None:
    """The application raises, and no last message tells that all was sent."""
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    response = object_response(TEN, Source(*chunks).stream)
    with pytest.raises(StoreIoError, match="fewer bytes"):
        asyncio.run(response(SCOPE, never, send))
    assert all(message.get("more_body", True) for message in messages)


def test_a_stream_that_is_long_is_an_error() -> None:
    """Bytes beyond the announced length are not sent."""
    with pytest.raises(StoreIoError, match="more bytes"):
        run(Source(b"0123456789", b"x"))


def test_a_stream_that_raises_raises_out_of_the_application() -> None:
    """Also an error that is no OSError."""
    with pytest.raises(StoreError, match="gone"):
        run(Source(b"0", error=StoreError("gone")))


def test_a_cancelled_answer_closes_its_source() -> None:
    """Nobody waits for the garbage collector to let go of the store."""
    source = Source(b"01234", b"56789")

    stalled = asyncio.Event()

    async def stall(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            stalled.set()
            await asyncio.Event().wait()

    async def cancel() -> object:
        response = object_response(TEN, source.stream)
        task = asyncio.create_task(response(SCOPE, never, stall))
        await asyncio.wait_for(stalled.wait(), 10)
        assert not source.closed
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed
        return response

    asyncio.run(cancel())


def test_head_and_not_modified_have_no_body() -> None:
    """HEAD announces the length that GET has; 304 announces none."""
    head, unmodified = head_response(TEN), not_modified_response(TEN)
    assert (head.status_code, head.headers["content-length"], head.body) == (200, "10", b"")
    assert (unmodified.status_code, unmodified.headers["etag"], unmodified.body) == (304, '"tag"', b"")
    assert "content-length" not in unmodified.headers


def test_an_object_is_described() -> None:
    """ETag in quotes, the date in GMT, caching and type as given, and no sniffing."""
    assert dict(head_response(TEN).headers) == {
        "accept-ranges": "bytes",
        "cache-control": "no-cache",
        "last-modified": "Sun, 01 Mar 2026 12:00:00 GMT",
        "etag": '"tag"',
        "content-length": "10",
        "content-type": "text/x-ten",
        "x-content-type-options": "nosniff",
    }
