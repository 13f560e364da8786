"""An S3 endpoint that answers what a test says."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import EllipsisType, TracebackType
from typing import Self

import pytest

Answer = tuple[int, dict[str, str], bytes] | EllipsisType | None
"""Status, headers and body; None breaks the connection off, ... stays silent."""


class Seen:
    """A request that arrived."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body


class Recorder:
    """A loopback server that gives one answer after the other, and keeps what it was asked."""

    def __init__(self, answers: list[Answer]) -> None:
        self.seen: list[Seen] = []
        self._left = iter(answers)
        self._lock = Lock()
        self._over = Event()

    def __enter__(self) -> Self:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = recorder.next(Seen(self.command, self.path, headers, self.rfile.read(length)))
                if isinstance(answer, tuple):
                    self._send(*answer)
                else:
                    recorder.wait(answer)
                    self.close_connection = True

            def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - the library's names

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def next(self, seen: Seen) -> Answer:
        """Keep a request, and return what to answer."""
        with self._lock:
            self.seen.append(seen)
            return next(self._left)

    def wait(self, answer: Answer) -> None:
        """Stay silent until the end, if that is the answer."""
        if answer is ...:
            self._over.wait(30)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def record() -> Callable[[list[Answer]], Recorder]:
    """Start a server with a list of answers: ``with record([…]) as recorder``."""
    return Recorder
