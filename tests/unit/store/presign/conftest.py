"""Whom presigned URLs are sent to, and by whom."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wildcast_server.store import PresignedUrl

Ask = Callable[..., tuple[bytes, Message]]
ODD_KEYS = ["plain", "a b/c+d", "100%/ü~", "日本/図.nc", "'q' \"d\"", "x&y=z;w,v", "a!*()@:$"]


@pytest.fixture
def ask() -> Ask:
    """Do what a holder does who has nothing but the URL and the headers that came with it."""

    def send(signed: PresignedUrl, body: bytes | None = None) -> tuple[bytes, Message]:
        typed = signed.headers if body is None else {"Content-Type": "", **signed.headers}
        asked = urllib.request.Request(signed.url, body, dict(typed), method=signed.method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.read(), answer.headers

    return send


@pytest.fixture(params=ODD_KEYS)
def odd_key(request: pytest.FixtureRequest) -> str:
    """Names that a signature has to escape as its maker does."""
    return request.param


@dataclass
class Recorder:
    """What a loopback server was sent, and what it answers."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Answer with what was prepared, in order, and else with 200 and nothing."""
    seen = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def _record(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.requests.append((self.command, self.path, dict(self.headers), body))
            status, answer, headers = seen.answers.pop(0) if seen.answers else (200, b"", {})
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do_DELETE = _record  # noqa: N815 - the library's names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield seen
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def google_key() -> rsa.RSAPrivateKey:
    """A service account's key."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def account(google_key) -> str:
    """The key as Google hands it out."""
    pem = google_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"client_email": "me@project.iam", "private_key": pem, "private_key_id": "kid"})
