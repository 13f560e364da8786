"""Whom the clients trust over TLS."""

import asyncio
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.certificates import self_signed

import wildcast
from wildcast import _drivers
from wildcast._retry import Retry

ONCE = Retry(attempts=1)


class Handler(BaseHTTPRequestHandler):
    """An API without workflows."""

    def do_GET(self) -> None:
        body = b'{"workflows": {}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """The URL of a server, and the path of its certificate, which it has signed itself."""
    own, key = self_signed(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", own
    server.shutdown()
    server.server_close()


def ask(url: str) -> object:
    with wildcast.Client(url) as client:
        client._api._retry = ONCE
        return client.workflows()


def ask_awaiting(url: str) -> object:
    async def ask() -> object:
        async with wildcast.AsyncClient(url) as client:
            client._api._retry = ONCE
            return await client.workflows()

    return asyncio.run(ask())


@pytest.mark.parametrize("way", [ask, ask_awaiting])
def test_a_server_is_believed_whose_certificate_is_trusted(secure, way, tmp_path, monkeypatch):
    """And no other, by either face."""
    url, own = secure
    with pytest.raises(wildcast.ServerUnavailableError, match="certificate"):
        way(url)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(own.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert way(url) == {}


def test_clients_share_what_they_trust(tmp_path, secure, monkeypatch):
    """Until the bundle changes: to load it takes longer than to ask."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(secure[1].read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    first = _drivers._tls_context()
    assert first is _drivers._tls_context()
    bundle.write_bytes(bundle.read_bytes() * 2)
    assert first is not _drivers._tls_context()
