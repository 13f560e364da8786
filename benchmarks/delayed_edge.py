"""An edge that costs little and takes its time: it checks CloudFront's signatures, and serves a directory's objects.

    python delayed_edge.py DATA_DIRECTORY --port PORT [--delay-ms 20]

Signatures are checked by the verifier of `wildcast-server edge`, with its key; all else is left out that would make
the edge what is measured: one event loop, HTTP/1.1 GET and HEAD with single ranges, files from the page cache by
sendfile(2) or, small ones, from memory. ``/_control/stats`` answers how many requests there were.
"""

import argparse
import asyncio
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

import uvloop

from wildcast_server.errors import SignatureRefusedError
from wildcast_server.settings import load_settings
from wildcast_server.signing.verify import Verifier
from wildcast_server.wiring.publishing import build_key_pair

SMALL = 1 << 20
"""Bytes up to which a file is kept in memory."""

RANGE = re.compile(rb"\r\nrange: *bytes=(\d*)-(\d*)", re.IGNORECASE)
COOKIE = re.compile(rb"\r\ncookie: *([^\r\n]*)", re.IGNORECASE)
PIECE = 1 << 20


@dataclass
class Edge:
    """What is served, and to whom."""

    root: Path
    url: str
    verifier: Verifier
    seconds: float
    requests: int = 0
    _small: dict[str, bytes] = field(default_factory=dict)

    def find(self, path: str) -> tuple[Path, int] | None:
        """Return a file and its size."""
        file = self.root / unquote(path).lstrip("/")
        try:
            return file, file.stat().st_size
        except FileNotFoundError:
            return None

    def read(self, file: Path) -> bytes:
        """Return a small file, from memory after the first time."""
        key = str(file)
        if key not in self._small:
            self._small[key] = file.read_bytes()
        return self._small[key]


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._received = b""
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: asyncio.Transport
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to answer."""
        self._transport = cast("asyncio.Transport", transport)
        self._task = asyncio.get_running_loop().create_task(self._answer_all())

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop."""
        self._task.cancel()

    def pause_writing(self) -> None:
        """Wait until the client has read."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Take requests."""
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._queue.put_nowait(head)

    async def _answer_all(self) -> None:
        while True:
            head = await self._queue.get()
            if self._edge.seconds:
                await asyncio.sleep(self._edge.seconds)
            await self._answer(head)

    async def _answer(self, head: bytes) -> None:
        edge = self._edge
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if target == "/_control/stats":
            self._send("200 OK", json.dumps({"requests": edge.requests}).encode())
            return
        edge.requests += 1
        cookie = COOKIE.search(head)
        try:
            edge.verifier.check(edge.url + target, cookie=cookie[1].decode() if cookie else "")
        except SignatureRefusedError:
            self._send("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>", server="CloudFront")
            return
        found = edge.find(urlsplit(target).path)
        if found is None:
            self._send("404 Not Found", b"<Error><Code>NoSuchKey</Code><RequestId>1</RequestId></Error>")
            return
        await self._send_file(method, *found, RANGE.search(head))

    async def _send_file(self, method: str, file: Path, size: int, asked: re.Match[bytes] | None) -> None:
        start, end, status, more = 0, size, "200 OK", ""
        if asked is not None:
            first, last = asked[1], asked[2]
            start, end = (int(first), min(size, int(last or size) + 1)) if first else (max(0, size - int(last)), size)
            status, more = "206 Partial Content", f"Content-Range: bytes {start}-{end - 1}/{size}\r\n"
        # That of a directory's store; the client compares it with the manifest's.
        about = f"ETag: {_etag(str(file))}\r\nAccept-Ranges: bytes\r\nContent-Length: {end - start}\r\n{more}"
        self._transport.write(f"HTTP/1.1 {status}\r\n{about}\r\n".encode())
        if method == "HEAD":
            return
        if size <= SMALL:
            self._transport.write(self._edge.read(file)[start:end])
            return
        with file.open("rb") as opened:
            while start < end:
                await self._may_write.wait()
                piece = os.pread(opened.fileno(), min(PIECE, end - start), start)
                self._transport.write(piece)
                start += len(piece)

    def _send(self, status: str, body: bytes, server: str = "edge") -> None:
        head = f"HTTP/1.1 {status}\r\nServer: {server}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


@cache
def _etag(path: str) -> str:
    from wildcast_server.store import StoreOptions, open_store

    file = Path(path)
    found = open_store(file.parent.as_uri(), StoreOptions()).head(file.name).etag or ""
    return found if found.startswith('"') else f'"{found}"'


async def serve(edge: Edge, port: int) -> None:
    """Serve until it is told to end."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(edge), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    settings = load_settings(
        {"object_storage.enabled": True, "data_dir": arguments.data_directory, "edge.port": arguments.port}
    ).settings
    pair = build_key_pair(settings)
    verifier = Verifier({pair.id: pair.private_key.public_key()})
    root = Path(urlsplit(settings.store_uri).path)
    uvloop.run(serve(Edge(root, settings.edge.url, verifier, arguments.delay_ms / 1000), arguments.port))


if __name__ == "__main__":
    main()
