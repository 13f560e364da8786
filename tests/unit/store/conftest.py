"""The stores that the conformance suite runs against."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

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
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
