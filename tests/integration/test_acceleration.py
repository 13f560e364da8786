"""S3 Transfer Acceleration, proved on the wire: which names arrive behind a CONNECT proxy.

The proxy ends TLS itself, with certificates of a test authority for whatever name the client asks for, so the names
that arrive are those that AWS would see: the SNI of the handshake and the Host of the request.
"""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wildcast_server.settings import load_settings
from wildcast_server.settings.describe import describe
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.store._s3_requests import Request, http_request
from wildcast_server.store._s3_site import describe_site
from wildcast_server.wiring.publishing import announce, build_store

PART = 5 << 20
ACCELERATED = "my-bucket.s3-accelerate.amazonaws.com"
NORMAL = "s3.eu-central-1.amazonaws.com"
NOT_ENABLED = (
    b"<Error><Code>InvalidRequest</Code>"
    b"<Message>S3 Transfer Acceleration is not configured on this bucket</Message></Error>"
)


class Authority:
    """A certificate authority that lives as long as a test, and hands out certificates for any name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        builder = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.bundle = directory / "authority.pem"
        self.bundle.write_bytes(self._pem(builder))

    def context(self, name: str) -> ssl.SSLContext:
        """Return what a server called `name` needs for its side of TLS."""
        with self._lock:
            if name not in self._contexts:
                self._contexts[name] = self._make_context(name)
            return self._contexts[name]

    def _make_context(self, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._directory / f"{name}.pem"
        file.write_bytes(private + self._pem(self._builder(subject, key).add_extension(names, critical=False)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    def _pem(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Arrival:
    """A request as it came out of the tunnel."""

    sni: str
    host: str
    method: str
    path: str
    agent: str

    @property
    def is_write(self) -> bool:
        return self.method in ("PUT", "POST")


@dataclass
class Proxy:
    """A CONNECT proxy that answers in the place of whatever host is asked for."""

    authority: Authority
    url: str = ""
    enabled: bool = True
    """Whether the bucket has acceleration."""
    arrivals: list[Arrival] = field(default_factory=list)

    def hosts(self, *, writes: bool = True) -> set[str]:
        """The hosts that requests arrived for: those that write, or the others."""
        return {arrival.host for arrival in self.arrivals if arrival.is_write is writes}


class _Tunnel(BaseHTTPRequestHandler):
    """One connection: CONNECT, then TLS, then S3."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy
    _sni = ""

    def do_CONNECT(self) -> None:
        name = self.path.rpartition(":")[0]
        self.send_response(200)
        self.end_headers()
        context = self.proxy.authority.context(name)
        context.sni_callback = lambda _socket, sni, _context: setattr(self, "_sni", sni)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.setup_streams()
        self.close_connection = False

    def setup_streams(self) -> None:
        """Read and write through TLS from now on."""
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _arrived(self) -> bytes:
        headers = self.headers
        agent = headers.get("User-Agent", "")
        self.proxy.arrivals.append(Arrival(self._sni, headers["Host"], self.command, self.path, agent))
        return self._body()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    @property
    def _refuses(self) -> bool:
        return not self.proxy.enabled and "s3-accelerate" in self.headers["Host"]

    def do_PUT(self) -> None:
        self._arrived()
        self._answer(400, NOT_ENABLED) if self._refuses else self._answer(200)

    def do_POST(self) -> None:
        self._arrived()
        if self._refuses:
            return self._answer(400, NOT_ENABLED)
        if "uploads" in self.path:
            return self._answer(
                200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            )
        return self._answer(
            200, b"<CompleteMultipartUploadResult><ETag>&quot;tag&quot;</ETag></CompleteMultipartUploadResult>"
        )

    def do_GET(self) -> None:
        self._arrived()
        if self._refuses:
            self._answer(400, NOT_ENABLED)
        elif "acceleration-probe" in self.path:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, b"content")

    def do_HEAD(self) -> None:
        self._arrived()
        self._answer(400 if self._refuses else 200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Fri, 20 Nov 2026 10:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Of the whole file: keys take their time."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def proxy(authority: Authority) -> Iterator[Proxy]:
    """A proxy that nobody has used yet."""
    proxy = Proxy(authority)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Tunnel", (_Tunnel,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield proxy
    server.shutdown()
    server.server_close()


def _options(proxy: Proxy, **others: object) -> StoreOptions:
    given: dict[str, object] = {"region": "eu-central-1", "acceleration": True, "max_retries": 0, **others}
    return StoreOptions(proxy_url=proxy.url, ca_bundle=proxy.authority.bundle, **given)


def _write(store: ObjectStore) -> None:
    store.put("small", b"x")
    store.put_parts("large", iter([bytes(PART), b"end"]), part_size=PART, concurrency=2)


ENGINES = {
    "rust": ({}, "object_store"),
    "boto3": ({"use_rust_client": False}, "Boto3"),
    # The AWS Common Runtime knows no proxy, and so leaves everything to the other one.
    "crt": ({"crt_min_limit": 1}, "object_store"),
}
"""The options that choose an engine, and how what writes then names itself."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> tuple[dict[str, object], str]:
    """Every engine, of `ENGINES`."""
    return ENGINES[request.param]


def test_what_arrives_is_the_accelerated_name(proxy: Proxy, engine):
    """Every write, of one request or of many, comes by SNI and Host to the bucket's accelerated name."""
    options, agent = engine
    _write(open_store("s3://my-bucket/base", _options(proxy, **options)))
    writes = [arrival for arrival in proxy.arrivals if arrival.is_write]
    assert {(arrival.sni, arrival.host) for arrival in writes} == {(ACCELERATED, ACCELERATED)}
    assert {arrival.path.partition("?")[0] for arrival in writes} == {"/base/small", "/base/large"}
    assert all(agent in arrival.agent for arrival in writes)
    # One PUT of the small one; the large one's beginning, two parts, end.
    assert sorted(arrival.method for arrival in writes) == ["POST", "POST", "PUT", "PUT", "PUT"]


def test_the_common_runtime_asks_for_the_accelerated_name():
    """Its way there cannot lead through a proxy; but it connects to whatever Host its requests have, which is this."""
    site = describe_site("my-bucket", StoreOptions(acceleration=True)).accelerate()
    request = http_request(site, Request("PutObject", "PUT", "base/small"))
    assert (request.headers.get("Host"), request.path) == (ACCELERATED, "/base/small")


def test_reading_goes_to_the_region(proxy: Proxy):
    """What was written fast is read where it lies: acceleration is for uploads."""
    store = open_store("s3://my-bucket", _options(proxy))
    assert store.get("object") == b"content"
    assert proxy.hosts(writes=False) == {NORMAL}
    assert proxy.arrivals[0].path == "/my-bucket/object"


def test_a_bucket_that_does_not_have_it_enabled(proxy: Proxy, engine, caplog: pytest.LogCaptureFixture):
    """It is written at the normal endpoint, with one warning however many objects there are."""
    proxy.enabled = False
    store = open_store("s3://my-bucket", _options(proxy, **engine[0]))
    _write(store)
    _write(store)
    assert proxy.hosts() == {NORMAL}
    warnings = [record.getMessage() for record in caplog.records if "Acceleration" in record.getMessage()]
    assert len(warnings) == 1
    assert "without S3 Transfer Acceleration" in warnings[0]
    assert "not configured" in warnings[0]


def test_a_bucket_with_a_dot_in_its_name(proxy: Proxy, engine):
    """No certificate would fit its accelerated name, so the normal endpoint is used."""
    _write(open_store("s3://my.bucket", _options(proxy, **engine[0])))
    assert proxy.hosts() == {NORMAL}


def test_a_custom_endpoint(proxy: Proxy, engine):
    """It has no accelerated name, so it is used as it is."""
    _write(open_store("s3://my-bucket", _options(proxy, endpoint_url="https://store.example.org", **engine[0])))
    assert proxy.hosts() == {"store.example.org"}


def test_default_settings_accelerate(proxy: Proxy, tmp_path: Path):
    """A bucket and nothing else that is about acceleration: what is published goes to the accelerated name."""
    values = {
        "object_storage.bucket": "my-bucket",
        "object_storage.proxy_url": proxy.url,
        "object_storage.ca_bundle": str(proxy.authority.bundle),
    }
    settings = load_settings(values, environ={}, cwd=tmp_path).settings
    build_store(settings).put("outputs/run/.zattrs", b"{}")
    assert proxy.hosts() == {ACCELERATED}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bucket": "my-bucket"}, None),
        ({"bucket": "my-bucket", "endpoint_url": "https://store.example.org"}, "endpoint_url names an endpoint"),
        ({"bucket": "my.bucket"}, "a dot in its name"),
        ({"store": "gs://my-bucket"}, None),
        ({"bucket": "my-bucket", "use_transfer_acceleration": False}, None),
    ],
    ids=["can be", "endpoint", "dot", "no S3", "not asked for"],
)
def test_the_start_says_when_it_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture, values, said):
    """One line at the start where acceleration was asked for, if only by default, and cannot be; as `config` does."""
    loaded = load_settings(
        {f"object_storage.{name}": value for name, value in values.items()}, environ={}, cwd=tmp_path
    )
    with caplog.at_level("INFO"):
        announce(loaded.settings.object_storage)
    lines = [record.getMessage() for record in caplog.records if "Acceleration" in record.getMessage()]
    assert len(lines) == (said is not None)
    if said is not None:
        assert said in lines[0]
        described = next(str(row) for row in describe(loaded) if "object_storage.acceleration" in str(row))
        assert said in described
