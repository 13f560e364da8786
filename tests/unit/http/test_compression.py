"""Which coding an `Accept-Encoding` asks for, and what a response makes of it."""

import asyncio
import gzip

import pytest
import zstandard

from wildcast_server.http.compression import MIN_BYTES, CompressibleResponse, choose_coding


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", "identity"),
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("br", "identity"),
        ("*", "zstd"),
        ("*;q=0", "identity"),
        ("gzip;q=0", "identity"),
        ("zstd;q=0, *", "gzip"),
        ("zstd;q=0, gzip;q=0, *", "identity"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0.5, zstd;q=0.500", "zstd"),
        ("gzip ; Q=0.001", "gzip"),
        ("identity, gzip;q=0.5", "identity"),
        ("identity;q=0.1, gzip;q=0.5", "gzip"),
        ("identity;q=0", "identity"),
        ("gzip;q=2", "identity"),
        ("gzip;q=0.1234", "identity"),
        ("gzip;level=9, zstd;q=0.1", "zstd"),
        (",,gzip,,", "gzip"),
        ("\x00, gzip", "gzip"),
    ],
)
def test_the_coding_is_what_the_client_likes_best(header, coding):
    """By q-value, between equals zstd before gzip; what cannot be read is passed over; 406 is never the answer."""
    assert choose_coding(header) == coding


def sent(response, accept=None, method="GET"):
    """What the response sends: its headers and its body."""
    messages = []

    async def send(message):
        messages.append(message)

    headers = [(b"accept-encoding", line.encode()) for line in (accept or "").split("\n") if line]
    scope = {"type": "http", "method": method, "headers": headers}
    asyncio.run(response(scope, None, send))
    names = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return names, b"".join(message.get("body", b"") for message in messages[1:])


DECODERS = {"gzip": gzip.decompress, "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data)}


@pytest.mark.parametrize("size", [MIN_BYTES, 10_000, 1_000_000])
@pytest.mark.parametrize("coding", DECODERS)
def test_a_long_body_is_sent_compressed(coding, size):
    """It decodes to the same bytes, and its length is that of what is sent; in a thread or not."""
    body = b"0123456789" * (size // 10 + 1)
    headers, data = sent(CompressibleResponse(body), coding)
    assert headers["content-encoding"] == coding
    assert int(headers["content-length"]) == len(data) < len(body)
    assert DECODERS[coding](data) == body


@pytest.mark.parametrize(
    ("size", "accept"), [(MIN_BYTES - 1, "gzip, zstd"), (10_000, None), (10_000, "br"), (10_000, "gzip;q=0")]
)
def test_a_short_body_or_an_unwilling_client_gets_it_as_it_is(size, accept):
    """Without Content-Encoding; but a cache is told that others may get another form."""
    headers, data = sent(CompressibleResponse(b"x" * size), accept)
    assert "content-encoding" not in headers
    assert headers["vary"] == "Accept-Encoding"
    assert data == b"x" * size


def test_the_wishes_may_come_in_several_lines():
    """A proxy may split a list; all of it counts."""
    headers, _ = sent(CompressibleResponse(b"x" * 5000), "br\ngzip")
    assert headers["content-encoding"] == "gzip"


def test_the_same_body_is_the_same_bytes():
    """No time is in it."""
    assert sent(CompressibleResponse(b"x" * 5000), "gzip") == sent(CompressibleResponse(b"x" * 5000), "gzip")
