"""An HTTP proxy in front of an S3 endpoint that spoils a share of the requests, the same ones for the same seed.

    python tests/faults/fault_proxy.py http://127.0.0.1:9100 --seed 1 --errors 0.1 --resets 0.2 --stalls 0.02 \
        --truncated 0.05

The first line printed is the port. ``GET /_proxy/stats`` counts what was done, ``PUT /_proxy/flip?nth=3`` makes it flip
one bit of the third body from then on that is on its way to the endpoint, ``POST /_proxy/calm`` ends all faults.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class Shares:
    """How much of all requests is spoiled in which way; the rest passes."""

    errors: float = 0.0
    resets: float = 0.0
    stalls: float = 0.0
    truncated: float = 0.0


_WAYS = {
    "errors": ("500", "500-done", "503"),
    "resets": ("reset-before", "reset-middle", "reset-after", "reset-answer"),
    "stalls": ("stall", "stall-done"),
    "truncated": ("truncate",),
}
"""What happens; with ``-done`` the endpoint did what was asked, and only its answer is lost."""


class Plan:
    """Says what happens to the next request.

    Parameters
    ----------
    seed
        Of the random numbers.
    shares
        How often what happens.
    """

    def __init__(self, seed: int, shares: Shares) -> None:
        self._random = random.Random(seed)
        self.shares = shares
        self.counts: Counter[str] = Counter()
        self.flipped: list[str] = []
        self._flip_after: int | None = None

    def next(self) -> str:
        """Draw what happens to a request."""
        drawn = self._random.random()
        way = "pass"
        for kind, ways in _WAYS.items():
            share = getattr(self.shares, kind)
            if drawn < share:
                way = self._random.choice(ways)
                break
            drawn -= share
        self.counts[way] += 1
        return way

    def flip_nth(self, nth: int) -> None:
        """Flip a bit of the `nth` body from now on, counted from 1."""
        self._flip_after = nth

    def flipped_body(self, target: str, body: bytes) -> bytes:
        """Return a body as it travels on."""
        if self._flip_after is None or not body:
            return body
        self._flip_after -= 1
        if self._flip_after:
            return body
        self._flip_after = None
        self.flipped.append(target)
        changed = bytearray(body)
        at = self._random.randrange(len(body) * 8)
        changed[at // 8] ^= 1 << at % 8
        return bytes(changed)


@dataclass(frozen=True)
class Message:
    """A request or an answer."""

    head: bytes
    """With the empty line that ends it."""
    length: int
    """Of the body, in bytes."""

    @property
    def method(self) -> bytes:
        return self.head.partition(b" ")[0]

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")


class Proxy:
    """Passes requests on, or not.

    Parameters
    ----------
    host, port
        Of the endpoint.
    plan
        What happens to whom.
    """

    def __init__(self, host: str, port: int, plan: Plan) -> None:
        self._host, self._port, self._plan = host, port, plan

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection, one request after the other."""
        upstream: _Upstream | None = None
        try:
            while True:
                request = await _read_head(reader)
                if request.target.startswith("/_proxy/"):
                    _respond(writer, 200, self._control(request))
                    continue
                upstream = upstream or await _Upstream.connect(self._host, self._port)
                if not await self._pass(request, reader, writer, upstream):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The client has gone, or the proxy ends; CancelledError would be reported once for each connection.
            pass
        finally:
            writer.close()
            if upstream is not None:
                upstream.writer.close()

    async def _pass(
        self,
        request: Message,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: "_Upstream",
    ) -> bool:
        """Serve one request; return whether the connection can serve another one."""
        way = self._plan.next()
        if way == "reset-before":
            return _reset(writer)
        if _EXPECT.search(request.head):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if way == "reset-middle":
            half = await reader.readexactly(request.length // 2)
            upstream.writer.write(_forwarded(request.head) + half)
            _reset(upstream.writer)
            return _reset(writer)
        body = await reader.readexactly(request.length) if request.length else b""
        if way in ("500", "503"):
            slow = way == "503"
            _respond(writer, 503 if slow else 500, _SLOW_DOWN if slow else _INTERNAL)
            return True
        if way == "stall":
            return await _stall(reader)
        if request.method == b"PUT":
            body = self._plan.flipped_body(request.target, body)
        answer = await upstream.ask(request, body)
        return await _hand_over(way, answer, reader, writer)

    def _control(self, request: Message) -> bytes:
        url = urlsplit(request.target)
        plan = self._plan
        if url.path == "/_proxy/flip":
            plan.flip_nth(int(parse_qs(url.query)["nth"][0]))
        if url.path == "/_proxy/calm":
            plan.shares = Shares()
        return json.dumps({"counts": plan.counts, "flipped": plan.flipped}).encode()


class _Upstream:
    """A connection to the endpoint."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, host: str, port: int) -> "_Upstream":
        return cls(*await asyncio.open_connection(host, port))

    async def ask(self, request: Message, body: bytes) -> bytes:
        """Return the endpoint's whole answer."""
        self.writer.write(_forwarded(request.head) + body)
        await self.writer.drain()
        answer = await _read_head(self.reader)
        bodiless = request.method == b"HEAD" or answer.head.startswith(b"HTTP/1.1 204")
        return answer.head + (b"" if bodiless else await self.reader.readexactly(answer.length))


async def _read_head(reader: asyncio.StreamReader) -> Message:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return Message(head, int(length[1]) if length else 0)


def _forwarded(head: bytes) -> bytes:
    """Return a request's head without the expectation that the proxy itself has met."""
    return _EXPECT.sub(b"", head)


async def _hand_over(
    way: str,
    answer: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Give the client its answer, or what is left of it; return whether the connection can serve another request."""
    match way:
        case "stall-done":
            return await _stall(reader)
        case "500-done":
            _respond(writer, 500, _INTERNAL)
            return True
        case "reset-after":
            return _reset(writer)
        case "reset-answer":
            writer.write(_cut(answer))
            # What a reset throws away would not have arrived at all; the pause lets it go out first.
            await asyncio.sleep(0.01)
            return _reset(writer)
        case "truncate":
            writer.write(_cut(answer))
            return False
    writer.write(answer)
    await writer.drain()
    return True


def _cut(answer: bytes) -> bytes:
    """Return the first half of an answer's body, or of its head if it has no body."""
    end = answer.index(b"\r\n\r\n") + 4
    return answer[: end + (len(answer) - end) // 2] if len(answer) > end else answer[: end // 2]


async def _stall(reader: asyncio.StreamReader) -> bool:
    """Never answer; come back when the client has gone."""
    while await reader.read(1 << 16):
        pass
    return False


def _reset(writer: asyncio.StreamWriter) -> bool:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def _respond(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    shares = Shares(arguments.errors, arguments.resets, arguments.stalls, arguments.truncated)
    url = urlsplit(arguments.endpoint)
    proxy = Proxy(str(url.hostname), int(url.port or 80), Plan(arguments.seed, shares))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 16, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - what a starter waits for
    await stop.wait()
    server.close()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("--seed", type=int, default=1)
    for name in ("--errors", "--resets", "--stalls", "--truncated"):
        parser.add_argument(name, type=float, default=0.0, help="a share of all requests")
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
