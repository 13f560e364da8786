"""The stores that the conformance suite runs against."""

import base64
import hashlib
import hmac
import re
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.store._azure import EMULATOR_ACCOUNT, EMULATOR_KEY

BACKENDS = (
    "memory",
    "memory-base",
    "file",
    "s3",
    "s3-base",
    "gs-base",
    pytest.param("az", marks=pytest.mark.emulators),
    pytest.param("az-base", marks=pytest.mark.emulators),
)


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    kind, _, base = request.param.partition("-")
    if kind == "memory":
        return open_store(f"memory://{base}")
    if kind == "file":
        return open_store((tmp_path / "objects of a store").as_uri())
    if kind == "gs":
        return request.getfixturevalue("google").open(base)
    if kind == "az":
        return open_store(f"{request.getfixturevalue('container')}/{base}")
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


@dataclass
class Google:
    """A bucket as the XML API of Google Cloud Storage shows it, and what it was asked."""

    url: str = ""
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path with query, and headers with names in lower case."""
    page: int = 1000
    refusals: list[int] = field(default_factory=list)
    """Statuses that the next requests are answered with."""

    def __post_init__(self) -> None:
        self.lock = RLock()

    def open(self, base: str = "", **options: Any) -> ObjectStore:
        """Open the bucket, or what lies below `base`, as Google's own emulator variable would have it."""
        from wildcast_server.store._gcs import open_gcs

        environ = {"STORAGE_EMULATOR_HOST": self.url}
        return open_gcs(f"gs://bucket/{base}".rstrip("/"), "bucket", base, StoreOptions(**options), environ)


class _GoogleHandler(BaseHTTPRequestHandler):
    """The XML API's requests, as far as a store makes them (Cloud Storage, "XML API")."""

    protocol_version = "HTTP/1.1"
    google: Google

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, self.key = parts.path[1:].partition("/")
        self.key = unquote(self.key)
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.google.lock:
            self.google.requests.append((self.command, self.path, headers))
            if self.google.refusals:
                self._refuse(self.google.refusals.pop(0), "SlowDown")
            elif bucket != "bucket":
                self._refuse(404, "NoSuchBucket")
            else:
                getattr(self, f"_{self.command.lower()}")(body, headers)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 - the library's names

    def _put(self, body: bytes, headers: dict[str, str]) -> None:
        if "uploadId" in self.query:
            self.google.uploads[self.query["uploadId"]]["parts"][int(self.query["partNumber"])] = body
            return self._send(200, etag=_md5(body))
        if headers.get("x-goog-if-generation-match") == "0" and self.key in self.google.objects:
            return self._refuse(412, "PreconditionFailed")
        return self._send(200, etag=self._store(body, headers, _md5(body)))

    def _store(self, body: bytes, headers: dict[str, str], etag: str) -> str:
        kept = {name: headers[name] for name in ("content-type", "cache-control") if name in headers}
        self.google.objects[self.key] = body, {**kept, "etag": etag, "last-modified": formatdate(usegmt=True)}
        return etag

    def _post(self, _body: bytes, headers: dict[str, str]) -> None:
        uploads = self.google.uploads
        if "uploads" in self.query:
            upload = uuid.uuid4().hex
            uploads[upload] = {"key": self.key, "headers": headers, "parts": {}, "at": datetime.now(UTC).isoformat()}
            return self._xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
        begun = uploads.pop(self.query["uploadId"])
        whole = b"".join(part for _, part in sorted(begun["parts"].items()))
        # No MD5: "Hashes and ETags" promises one of objects alone that came in one request.
        etag = self._store(whole, begun["headers"], f'"{uuid.uuid4().hex}"')
        return self._xml("CompleteMultipartUploadResult", f"<ETag>{escape(etag)}</ETag>")

    def _delete(self, _body: bytes, _headers: dict[str, str]) -> None:
        if "uploadId" in self.query:
            ended = self.google.uploads.pop(self.query["uploadId"], None)
            return self._send(204) if ended else self._refuse(404, "NoSuchUpload")
        return self._send(204) if self.google.objects.pop(self.key, None) else self._refuse(404, "NoSuchKey")

    def _head(self, _body: bytes, _headers: dict[str, str]) -> None:
        found = self.google.objects.get(self.key)
        if found is None:
            return self._send(404)
        return self._send(200, found[0], found[1])

    def _get(self, _body: bytes, headers: dict[str, str]) -> None:
        if not self.key:
            return self._list_uploads() if "uploads" in self.query else self._list()
        found = self.google.objects.get(self.key)
        if found is None:
            return self._refuse(404, "NoSuchKey")
        data, kept = found
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
        if wanted is None:
            return self._send(200, data, kept)
        size, (first, last) = len(data), wanted.groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return self._refuse(416, "InvalidRange")
        return self._send(206, data[start:stop], {**kept, "content-range": f"bytes {start}-{stop - 1}/{size}"})

    def _list(self) -> None:
        after = self.query.get("continuation-token") or self.query.get("start-after", "")
        prefix = self.query.get("prefix", "")
        keys = sorted(key for key in self.google.objects if key.startswith(prefix) and key > after)
        page = keys[: min(self.google.page, int(self.query.get("max-keys", 1000)))]
        rows = ""
        for key in page:
            data, kept = self.google.objects[key]
            rows += f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{escape(kept['etag'])}</ETag>"
            rows += f"<LastModified>{datetime.now(UTC).isoformat()}</LastModified></Contents>"
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(page) < len(keys) else ""
        self._xml("ListBucketResult", f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{rows}")

    def _list_uploads(self) -> None:
        begun = sorted((upload["key"], name) for name, upload in self.google.uploads.items())
        marker = self.query.get("key-marker", ""), self.query.get("upload-id-marker", "")
        begun = [pair for pair in begun if pair[0].startswith(self.query.get("prefix", "")) and pair > marker]
        page = begun[: self.google.page]
        rows = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId>"
            f"<Initiated>{self.google.uploads[name]['at']}</Initiated></Upload>"
            for key, name in page
        )
        if len(page) < len(begun):
            rows += f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker>"
            rows += f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker><IsTruncated>true</IsTruncated>"
        self._xml("ListMultipartUploadsResult", rows)

    def _xml(self, name: str, inner: str) -> None:
        space = 'xmlns="http://doc.s3.amazonaws.com/2006-03-01"'
        self._send(200, f'<?xml version="1.0" encoding="UTF-8"?><{name} {space}>{inner}</{name}>'.encode())

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, etag: str = "") -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), **({"etag": etag} if etag else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


def _md5(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


@pytest.fixture(scope="session")
def googles_server() -> Iterator[Google]:
    """A bucket of Google's that lives as long as the session."""
    google = Google()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_GoogleHandler,), {"google": google}))
    google.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield google
    server.shutdown()
    server.server_close()


@pytest.fixture
def google(googles_server: Google) -> Google:
    """The same, empty."""
    with googles_server.lock:
        googles_server.page = 1000
        for held in (
            googles_server.objects,
            googles_server.uploads,
            googles_server.requests,
            googles_server.refusals,
        ):
            held.clear()
    return googles_server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of Azurite's account, which `make test-emulators` installs; it lives as long as the session."""
    program = Path(__file__).parents[3] / ".emulators" / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists() or shutil.which("node") is None:
        pytest.fail("Azurite is not installed: make test-emulators")
    log = tmp_path_factory.mktemp("azurite") / "log"
    command = [program, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        yield f"{_address(log, process)}/{EMULATOR_ACCOUNT}"
        process.terminate()


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"successfully listens on (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"Azurite does not start: {log.read_text()}")


@pytest.fixture
def container(azurite: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of a fresh container there; the environment says how to reach it, by a connection string."""
    named = {"AccountName": EMULATOR_ACCOUNT, "AccountKey": EMULATOR_KEY, "BlobEndpoint": azurite}
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", ";".join(f"{name}={text}" for name, text in named.items()))
    name = f"test-{uuid.uuid4().hex[:16]}"
    _ask_azure(azurite, "PUT", f"{name}?restype=container")
    return f"az://{name}"


def _ask_azure(account: str, method: str, target: str) -> bytes:
    """Send a request without a body, signed ("Authorize with Shared Key")."""
    path, _, query = target.partition("?")
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    resource = f"/{EMULATOR_ACCOUNT}/{EMULATOR_ACCOUNT}/{path}" + "".join(
        f"\n{name}:{value}" for name, _, value in sorted(pair.partition("=") for pair in query.split("&"))
    )
    key = base64.b64decode(EMULATOR_KEY)
    signature = hmac.new(key, f"{method}{chr(10) * 12}{lines}{resource}".encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {EMULATOR_ACCOUNT}:{base64.b64encode(signature).decode()}"
    request = urllib.request.Request(f"{account}/{target}", method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


@pytest.fixture
def ask_azure(azurite: str) -> Callable[[str, str], bytes]:
    """Ask Azurite for something that a store does not: method, and path with query."""
    return lambda method, target: _ask_azure(azurite, method, target)
