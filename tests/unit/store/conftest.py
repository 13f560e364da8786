"""The stores that the conformance suite runs against."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from wildcast_server.store import ObjectStore, StoreOptions, open_store

BACKENDS = ("memory", "memory-base", "file", "s3", "s3-base")


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    kind, _, base = request.param.partition("-")
    if kind == "memory":
        return open_store(f"memory://{base}")
    if kind == "file":
        return open_store((tmp_path / "objects of a store").as_uri())
    return open_store(
        f"s3://{request.getfixturevalue('bucket')}/{base}",
        StoreOptions(endpoint_url=request.getfixturevalue("s3_endpoint")),
    )


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Start loopback servers that answer every request alike; a call returns the server's URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                if "Content-Length" not in (headers or {}):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                if "Content-Length" in (headers or {}):
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - the library's names

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def holding() -> Iterator[tuple[str, Event, Callable[[], int]]]:
    """Start an S3 server that answers no part before an event is set; yield URL, event, and the count of parts."""
    released = Event()
    started = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    ended = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
    arrived: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._send(started if "uploads" in self.path else ended)

        def do_PUT(self) -> None:
            arrived.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            released.wait(30)
            self._send(b"")

        def _send(self, body: bytes) -> None:
            if self.command == "POST":
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("ETag", '"part"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", released, lambda: len(arrived)
    released.set()
    server.shutdown()
    server.server_close()
