"""A CDN on loopback that serves a dictionary of objects, and does wrong what a test tells it to."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wildcast._filesystem import SignedFileSystem
from wildcast._retry import Retry
from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH
from wildcast.contract.policy import Policy, b64_encode, encode_policy

EXECUTION = "exec_1769560728_10ed9d3c"
SIGNATURE = "c2VjcmV0~not-satisfiable-403_"
QUICK = Retry(attempts=3, base=0.001, cap=0.002)

Fault = Callable[[str, Request], Response | None]


@contextmanager
def served(app: Callable[..., object]) -> Iterator[str]:
    """Run an ASGI app on a free loopback port; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
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

    def write_manifest(self) -> None:
        rows = [FileRow(p, len(b), "AAAAAAAAAAA=", '"e"', "x") for p, b in self.objects.items() if p != MANIFEST_PATH]
        manifest = Manifest.of(
            rows,
            execution=EXECUTION,
            attempt=1,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            verified="crc64nvme",
            datasets=(),
        )
        self.objects[MANIFEST_PATH] = encode_manifest(manifest)

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


def serve(body: bytes | None, request: Request) -> Response:
    """Answer as a store does, with one range."""
    if body is None:
        return Response("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="text/xml")
    etag = {"ETag": f'"{hash(body)}"', "Accept-Ranges": "bytes"}
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
