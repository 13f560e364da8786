"""Sending an object: headers, and streams that do not end as announced."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from datetime import UTC, datetime
from typing import Any

import pytest

from wildcast_server.errors import StoreError, StoreIoError
from wildcast_server.http.ranges import Span
from wildcast_server.http.responses import (
    Representation,
    head_response,
    not_modified_response,
    object_response,
    ranges_response,
)

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


class Chunks:
    """An iterator that is no generator, as a store's may be: chunks, how often it was closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.waiting = list(chunks)
        self.closed = 0

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if not self.waiting:
            raise StopAsyncIteration
        return self.waiting.pop(0)

    async def aclose(self) -> None:
        self.closed += 1


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


def test_a_client_that_is_gone_before_the_first_byte_closes_the_source() -> None:
    """A store's stream holds a file or a connection open from the beginning, read or not."""
    chunks = Chunks(b"0123456789")

    async def refuse(_message: MutableMapping[str, Any]) -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        asyncio.run(object_response(TEN, chunks)(SCOPE, never, refuse))
    assert (chunks.closed, chunks.waiting) == (1, [b"0123456789"])


def run_ranges(spans: list[Span], sources: list[Chunks]) -> tuple[dict[str, str], list[bytes], list[Span]]:
    """Send several ranges; return the headers, the bodies' messages, and what was opened."""
    messages: list[MutableMapping[str, Any]] = []
    opened: list[Span] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    async def open_span(span: Span) -> Chunks:
        assert all(source.closed for source in sources[: len(opened)])
        opened.append(span)
        return sources[len(opened) - 1]

    asyncio.run(ranges_response(TEN, spans, open_span)(SCOPE, never, send))
    assert messages[0]["status"] == 206
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return headers, [message["body"] for message in messages[1:]], opened


def test_several_ranges_are_the_parts_of_one_body() -> None:
    """The form of RFC 9110 §14.6: type and place of each part, the length of all, no Content-Range of its own."""
    spans = [Span(7, 10), Span(0, 2)]
    headers, body, opened = run_ranges(spans, [Chunks(b"78", b"9"), Chunks(b"01")])
    boundary = headers["content-type"].removeprefix("multipart/byteranges; boundary=")
    assert opened == spans
    assert b"".join(body).decode() == (
        f"--{boundary}\r\nContent-Type: text/x-ten\r\nContent-Range: bytes 7-9/10\r\n\r\n789\r\n"
        f"--{boundary}\r\nContent-Type: text/x-ten\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n"
        f"--{boundary}--\r\n"
    )
    assert headers["content-length"] == str(len(b"".join(body)))
    assert "content-range" not in headers
    assert headers["etag"] == '"tag"'


def test_each_part_is_opened_when_it_is_its_turn() -> None:
    """A hundred ranges are no hundred open files: the one before is closed by then."""
    sources = [Chunks(b"0"), Chunks(b"2"), Chunks(b"4")]
    run_ranges([Span(0, 1), Span(2, 3), Span(4, 5)], sources)
    assert all(source.closed for source in sources)


@pytest.mark.parametrize("second", [b"", b"23"])
def test_a_part_that_is_not_as_announced_is_an_error(second: bytes) -> None:
    """As with a single range, the exception leaves the application."""
    sources = [Chunks(b"0"), Chunks(second)]
    with pytest.raises(StoreIoError, match="bytes of an object than it had announced"):
        run_ranges([Span(0, 1), Span(2, 3)], sources)
    assert sources[1].closed


def test_boundaries_differ() -> None:
    """Nobody can put the next one into a file."""
    kinds = [run_ranges([Span(0, 1), Span(2, 3)], [Chunks(b"0"), Chunks(b"2")])[0]["content-type"] for _ in "12"]
    assert kinds[0] != kinds[1]


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
