"""A server on loopback that answers as wildcast's or as the Earth2Studio server does, and a CDN beside it."""

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api_client.client import Earth2StudioClient
from wildcast.contract.policy import Policy, b64_encode, encode_policy

ID = "exec_1769560728_10ed9d3c"
WHEN = "2026-01-01T00:00:00Z"
SIGNATURE = "c2lnbmVk403_"

Override = Callable[[Request], Response | None]


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
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
class Peer:
    """One execution of the workflow `wf`, with answers that a test sets."""

    origin: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    storage_type: str = "s3"
    statuses: list[str] = field(default_factory=lambda: ["completed"])
    progress: dict[str, Any] | None = None
    error_message: str | None = None
    left_out: set[str] = field(default_factory=set)
    signature: str = SIGNATURE
    accepted: set[str] = field(default_factory=lambda: {SIGNATURE})
    expires_in: float = 3600
    override: Override | None = None
    gate: Callable[[Request], Awaitable[None]] | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    sent: int = 0

    def client(self, **options: Any) -> Earth2StudioClient:
        return Earth2StudioClient(self.origin, "wf", **{"retry_backoff_factor": 0.001, **options})

    @property
    def signed_url(self) -> str:
        base = f"{self.origin}/cdn/outputs/{ID}"
        policy = Policy(resource=f"{base}/*", expires=int(time.time() + self.expires_in))
        return f"{base}/*?Policy={b64_encode(encode_policy(policy))}&Signature={self.signature}&Key-Pair-Id=K1"

    def asked(self, path: str) -> int:
        """How often a path was requested."""
        return sum(asked.partition("?")[0] == path for _, asked in self.requests)

    async def answer(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode()
        self.requests.append((request.method, raw + (f"?{request.url.query}" if request.url.query else "")))
        self.headers.append(dict(request.headers))
        if self.gate is not None:
            await self.gate(request)
        if self.override is not None and (answer := self.override(request)) is not None:
            return answer
        path = request.scope["path"]
        if request.method == "POST":
            self.bodies.append(json.loads(await request.body()))
            return JSONResponse(self.submitted())
        fixed = {
            "/health": {"status": "healthy", "timestamp": WHEN},
            f"/v1/infer/wf/{ID}/status": self.status,
            f"/v1/infer/wf/{ID}/results": self.results,
        }.get(path)
        if fixed is not None:
            return JSONResponse(fixed() if callable(fixed) else fixed)
        return self.file(request, path)

    def file(self, request: Request, path: str) -> Response:
        cdn, api = f"/cdn/outputs/{ID}/", f"/v1/infer/wf/{ID}/results/{ID}/"
        if path.startswith(cdn):
            if request.query_params.get("Signature") not in self.accepted:
                return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="text/xml")
            return self.ranged(request, self.files.get(path.removeprefix(cdn)))
        if path.startswith(api) and self.storage_type == "server":
            return self.ranged(request, self.files.get(path.removeprefix(api)))
        return JSONResponse({"detail": f"there is no {path}"}, 404)

    def ranged(self, request: Request, body: bytes | None) -> Response:
        if body is None:
            return JSONResponse({"detail": "no such file"}, 404)
        wanted = request.headers.get("range")
        if wanted is None:
            self.sent += len(body) if request.method == "GET" else 0
            return Response(body)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1, len(body)) if last else len(body)
        self.sent += end - start
        return Response(body[start:end], 206, headers={"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"})

    def submitted(self) -> dict[str, Any]:
        return {
            "workflow_name": "wf",
            "execution_id": ID,
            "status": "queued",
            "position": 0,
            "message": "queued",
            "timestamp": WHEN,
        }

    def status(self) -> dict[str, Any]:
        return {
            "workflow_name": "wf",
            "execution_id": ID,
            "status": self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0],
            "position": None,
            "progress": self.progress,
            "error_message": self.error_message,
        }

    def results(self) -> dict[str, Any]:
        answer = {
            "request_id": ID,
            "status": "completed",
            "completion_time": WHEN,
            "execution_time_seconds": 1.5,
            "zip_created_at": WHEN,
            "storage_type": self.storage_type,
            "signed_url": self.signed_url if self.storage_type == "s3" else None,
            "output_files": [{"path": f"{ID}/{path}", "size": len(body)} for path, body in self.files.items()],
        }
        return {name: value for name, value in answer.items() if name not in self.left_out}


@pytest.fixture(scope="session")
def _server() -> Iterator[Peer]:
    peer = Peer()
    with served(app_of(peer)) as url:
        peer.origin = url
        yield peer


def app_of(peer: Peer) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", peer.answer, methods=["GET", "HEAD", "POST"])])


@pytest.fixture
def serve_again(peer: Peer) -> Callable[[int], AbstractContextManager[str]]:
    """Run that server beside, at a port that a test can take away and give back."""
    return lambda port: served(app_of(peer), port)


@pytest.fixture
def peer(_server: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A server with one completed execution, which has no files yet."""
    monkeypatch.delenv("WILDCAST_TOKEN", raising=False)
    _server.__init__(_server.origin)  # type: ignore[misc]
    return _server


@pytest.fixture
def client(peer: Peer) -> Iterator[Earth2StudioClient]:
    """A client of that server."""
    with peer.client() as opened:
        yield opened


@pytest.fixture(params=["s3", "server"])
def storage_type(request: pytest.FixtureRequest, peer: Peer) -> str:
    """Each storage type in turn, set on the server."""
    peer.storage_type = request.param
    return request.param
