"""Whom the clients trust over TLS."""

import asyncio
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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
    directory = tmp_path_factory.mktemp("tls")
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    own, pair = directory / "own.pem", directory / "pair.pem"
    own.write_bytes(certificate.public_bytes(Encoding.PEM))
    pair.write_bytes(own.read_bytes() + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
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
