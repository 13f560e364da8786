"""A CDN that serves a dictionary of objects, and an API, both on loopback; they do wrong what a test tells them to."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import uvicorn
from awscrt.checksums import crc64nvme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import wildcast
from wildcast._filesystem import SignedFileSystem
from wildcast._retry import Retry
from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH
from wildcast.contract.policy import Policy, b64_encode, encode_policy

EXECUTION = "exec_1769560728_10ed9d3c"
SIGNATURE = "c2VjcmV0~not-satisfiable-403_"
QUICK = Retry(attempts=3, base=0.001, cap=0.002)

TOKEN = "canary-token"
WHEN = "2026-01-01T00:00:00Z"

Fault = Callable[[str, Request], Response | None]


@contextmanager
def served(app: Callable[..., object], port: int = 0) -> Iterator[str]:
    """Run an ASGI app on a loopback port, a free one if none is named; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass
class Cdn:
    """A prefix of objects behind a signature."""

    origin: str = ""
    execution: str = EXECUTION
    signature: str = SIGNATURE
    retry: Retry = QUICK
    objects: dict[str, bytes] = field(default_factory=dict)
    fault: Fault | None = None
    accepted: set[str] = field(default_factory=lambda: {SIGNATURE})
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw_paths: list[bytes] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"{self.origin}/outputs/{EXECUTION}"

    def signed(self, *, expires_in: float = 3600, signature: str = SIGNATURE) -> str:
        policy = Policy(resource=f"{self.base}/*", expires=int(time.time() + expires_in))
        return f"{self.base}/*?Policy={b64_encode(encode_policy(policy))}&Signature={signature}&Key-Pair-Id=K1"

    def fs(self, **options: object) -> SignedFileSystem:
        """Open the prefix with quick retries."""
        return SignedFileSystem(self.signed(), retry=QUICK, **options)

    def publish(self, **objects: bytes) -> None:
        """Add objects, and the manifest of all that there are."""
        self.objects.update(objects)
        self.write_manifest()

    def write_manifest(self, path: str = MANIFEST_PATH) -> None:
        """Write the manifest of all that there are, or at another path the list of what is there so far."""
        rows = [row_of(key, body) for key, body in self.objects.items() if not key.startswith(".wildcast/")]
        self.objects[path] = encode_manifest(self.manifest_of(rows))

    def manifest_of(self, rows: list[FileRow]) -> Manifest:
        return Manifest.of(
            rows,
            execution=EXECUTION,
            attempt=1,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            verified="crc64nvme",
            datasets=(),
        )

    def asked(self, path: str) -> int:
        """How often a path was requested."""
        return sum(path == asked for _, asked, _ in self.requests)

    async def answer(self, request: Request) -> Response:
        path = request.path_params["path"]
        self.requests.append((request.method, path, request.headers.get("range")))
        self.headers.append(dict(request.headers))
        self.raw_paths.append(request.scope["raw_path"])
        if self.fault is not None and (wrong := self.fault(path, request)) is not None:
            return wrong
        if request.query_params.get("Signature") not in self.accepted:
            return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="text/xml")
        return serve(self.objects.get(path), request)


def row_of(path: str, body: bytes) -> FileRow:
    """Describe an object as the server's manifest does, checksummed by other code than the client's."""
    crc = base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()
    return FileRow(path, len(body), crc, etag_of(body), "application/octet-stream")


def etag_of(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def serve(body: bytes | None, request: Request) -> Response:
    """Answer as a store does, with one range."""
    if body is None:
        return Response("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="text/xml")
    etag = {"ETag": etag_of(body), "Accept-Ranges": "bytes"}
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", etag["ETag"]) != etag["ETag"]:
        return Response(body, headers=etag, media_type="application/octet-stream")
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(len(body) - int(last), 0)
    end = min(int(last) + 1, len(body)) if first and last else len(body)
    if start >= end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(body)}"})
    etag["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
    return Response(body[start:end], 206, headers=etag)


@pytest.fixture(scope="session")
def serve_app() -> Callable[..., object]:
    """Run an ASGI app: a context manager that gives its URL."""
    return served


@pytest.fixture(scope="session")
def manifest_row() -> Callable[[str, bytes], FileRow]:
    """Describe an object as a manifest does."""
    return row_of


@pytest.fixture(scope="session")
def _edge() -> Iterator[Cdn]:
    edge = Cdn()
    route = Route(f"/outputs/{EXECUTION}/{{path:path}}", edge.answer, methods=["GET", "HEAD"])
    with served(Starlette(routes=[route])) as edge.origin:
        yield edge


@pytest.fixture
def cdn(_edge: Cdn) -> Cdn:
    """A CDN with nothing behind it yet."""
    _edge.__init__(_edge.origin)  # type: ignore[misc]
    return _edge


class FakeServer:
    """As much of the API as a client sees, with answers that a test sets."""

    def __init__(self, cdn) -> None:
        self.cdn, self.id = cdn, cdn.execution
        self.submitted, self.paths, self.tokens, self.types = [], [], [], []
        self.statuses = ["completed"]
        self.error_message = None
        self.progress, self.progresses = None, []
        self.override = None
        self.storage_type, self.datasets = "s3", []

    async def handle(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        self.tokens.append(request.headers.get("authorization"))
        if self.override is not None and (answer := self.override(request)) is not None:
            return answer
        tail = request.url.path.removeprefix("/v1/infer/")
        if request.method == "POST":
            self.types.append(request.headers.get("content-type"))
            self.submitted.append(json.loads(await request.body()))
            return JSONResponse(self.accepted(tail))
        if tail == "workflows":
            return JSONResponse({"workflows": {"wf": "makes data"}})
        if tail.startswith("workflows/"):
            return JSONResponse({"type": "object"})
        return self.of_execution(tail, request)

    def result(self) -> wildcast.Result:
        """Submit and wait."""
        return self.client.submit("wf").wait(timeout=20)

    def fail(self, code, body=None, *, times=10_000, retry_after="0"):
        """Answer the first `times` requests with an error."""
        left = [times]

        def answer(_request):
            left[0] -= 1
            if left[0] < 0:
                return None
            return JSONResponse(body or {"error": "It went wrong."}, code, headers={"Retry-After": retry_after})

        self.override = answer

    def of_execution(self, tail, request):
        if tail == f"wf/{self.id}/status":
            return JSONResponse(self.status())
        if tail == f"wf/{self.id}/results":
            return JSONResponse(self.metadata())
        prefix = f"wf/{self.id}/results/{self.id}/"
        if tail.startswith(prefix) and self.storage_type == "server":
            found = self.cdn.objects.get(tail.removeprefix(prefix))
            return Response("{}", 404) if found is None else Response(found)
        return JSONResponse({"error": f"There is no {request.url.path}.", "details": None, "detail": "no"}, 404)

    def accepted(self, workflow):
        return {
            "workflow_name": workflow,
            "execution_id": self.id,
            "status": "queued",
            "position": 0,
            "message": "queued",
            "timestamp": WHEN,
        }

    def status(self):
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return {
            "workflow_name": "wf",
            "execution_id": self.id,
            "status": status,
            "position": None,
            "progress": self.progresses.pop(0) if self.progresses else self.progress,
            "start_time": WHEN,
            "end_time": None,
            "execution_time_seconds": None,
            "error_message": self.error_message,
            "metadata": None,
        }

    def metadata(self):
        return {
            "request_id": self.id,
            "status": "completed",
            "completion_time": WHEN,
            "execution_time_seconds": 1.0,
            "workflow_name": "wf",
            "created_at": WHEN,
            "parameters": {},
            "storage_type": self.storage_type,
            "remote_path": None,
            "signed_url": self.cdn.signed() if self.storage_type == "s3" else None,
            "datasets": self.datasets,
            "unknown_to_us": 1,
            "output_files": [
                {"path": f"{self.id}/{path}", "size": len(body)}
                for path, body in self.cdn.objects.items()
                if not path.startswith(".wildcast")
            ],
        }


@pytest.fixture(scope="session")
def _api_server():
    """A server that stays up for all tests; each puts its own fake into the list."""
    fakes = []

    async def handle(request):
        return await fakes[-1].handle(request)

    with served(Starlette(routes=[Route("/{path:path}", handle, methods=["GET", "POST"])])) as url:
        yield url, fakes


@pytest.fixture
def server(cdn, _api_server, monkeypatch):
    """A fake API; `server.client` is a client of it."""
    monkeypatch.delenv("WILDCAST_TOKEN", raising=False)
    url, fakes = _api_server
    fakes[:] = [FakeServer(cdn)]
    with wildcast.Client(url, TOKEN) as client:
        client._api._retry = Retry(attempts=3, base=0.001, cap=0.002)
        fakes[0].url, fakes[0].client = url, client
        yield fakes[0]
