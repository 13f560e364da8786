"""The real API over records in memory, on loopback, and both faces of the client, called in one way."""

import asyncio
import inspect
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import wildcast
from wildcast._retry import Retry
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import workflow
from wildcast_server.api import UseCases, create_api
from wildcast_server.api.actions import Actions
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.registry import Registry
from wildcast_server.http.outgoing import Outgoing
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.metrics import Metrics
from wildcast_server.publish import publish_in_place
from wildcast_server.records import MemoryRecords
from wildcast_server.store import open_store
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.sign import Sign
from wildcast_server.usecases.submit import Submit
from wildcast_server.wiring.serving import ServerThread, bind, url_of

TOKEN = "canary-token"
QUICK = Retry(attempts=3, base=0.001, cap=0.002)

Meddle = Callable[[Request], Response | None]


class Blocking:
    """Lets a test call the face that is awaited as it calls the other one."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target, self._runner = target, runner

    def __repr__(self) -> str:
        return repr(self._target)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return partial(self._called, value) if callable(value) else value

    def close(self) -> None:
        self._called(self._target.aclose)

    def _called(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        # In the loop: what is called may ask for it at once.
        outcome = self._runner.run(_in_loop(method, args, kwargs))
        if isinstance(outcome, AsyncIterator):
            return self._iterated(outcome)
        return Blocking(outcome, self._runner) if isinstance(outcome, wildcast.AsyncExecution) else outcome

    def _iterated(self, values: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield self._called(values.__anext__)
        finally:
            self._called(values.aclose)


async def _in_loop(method: Any, args: Any, kwargs: Any) -> Any:
    outcome = method(*args, **kwargs)
    return await outcome if inspect.isawaitable(outcome) else outcome


@dataclass
class Seen:
    """A request that has arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @property
    def last(self) -> str:
        """The last part of the path, such as ``status``."""
        return self.path.rpartition("/")[2]


@dataclass
class Server:
    """The API, which a test can meddle with, stop and start again."""

    directory: Path
    meddle: Meddle | None = None
    seen: list[Seen] = field(default_factory=list)
    streams: int = 0
    """How many event streams are open."""

    def __post_init__(self) -> None:
        self.records = MemoryRecords()
        self.workflows = Registry()

        @workflow
        def wf(n: int = 1) -> None:
            """Make data."""

        self.workflows.add(wf)
        self._bound = bind("127.0.0.1", 0, "api")
        self.url = url_of(self._bound)
        self._thread: Any = None
        self.start()

    def start(self) -> None:
        bound = self._bound or bind("127.0.0.1", int(self.url.rpartition(":")[2]), "api")
        self._bound = None
        app = create_api(self._use_cases(), max_body_bytes=10_000)
        app.add_middleware(Meddler, server=self)
        self._thread = ServerThread("API", app, bound)
        self._thread.__enter__()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.__exit__(None, None, None)

    def asked(self, last: str) -> list[Seen]:
        """The requests to paths that end so."""
        return [each for each in self.seen if each.last == last]

    def _use_cases(self) -> UseCases:
        records, jobs = self.records, MemoryJobs()
        lookup = Lookup(records)
        results = Results(lookup, {"server": open_store(self.directory.as_uri())}, None)
        return UseCases(
            workflows=self.workflows,
            submit=Submit(self.workflows, records, jobs, Room(self.directory, 0), check_webhook=Outgoing().check),
            lookup=lookup,
            results=results,
            listing=ListExecutions(self.workflows, records),
            actions=Actions.of(lookup, records, jobs, Ending("server")),
            sign=Sign(lookup, results, None),
            checks={"records": records.check},
            metrics=Metrics(),
        )

    def add(self, number: int, **fields: Any) -> str:
        """Record an execution that is queued; return its id."""
        usual = {"id": f"exec_1_{number:08x}", "workflow_name": "wf", "parameters": {}, "jobs": 1}
        return self.records.insert(Execution(**{**usual, **fields})).execution.id

    def run(self, name: str) -> None:
        self.records.begin_attempt(
            name, job=1, worker="w", site="here", reuse=False, elsewhere=False, started_at=utc_now(), provenance=None
        )

    def report(self, name: str, **progress: Any) -> None:
        self.records.set_progress(name, 1, progress)

    def publish(self, name: str) -> None:
        self.records.change(name, expected=Status.RUNNING, to=Status.PENDING_RESULTS)

    def complete(self, name: str) -> None:
        directory = self.directory / name
        directory.mkdir()
        (directory / "a.txt").write_text("text")
        record = as_record(publish_in_place(directory, name), 1)
        self.records.change(
            name, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, ended_at=utc_now(), published=record
        )

    def fail(self, name: str, message: str = "ValueError: no such variable") -> None:
        self.records.change(
            name,
            expected=Status.RUNNING,
            to=Status.FAILED,
            ended_at=utc_now(),
            failed_step="compute",
            error_message=message,
        )

    def go_through(self, name: str, pause: float = 0.3) -> threading.Thread:
        """Bring an execution to its end, step by step, from a thread."""

        def steps() -> None:
            for step in (self.run, self.publish, self.complete):
                time.sleep(pause)
                step(name)

        thread = threading.Thread(target=steps)
        thread.start()
        return thread


class Meddler:
    """Notes each request, and answers it in the API's place where the test says so."""

    def __init__(self, app: Any, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        server, request = self._server, Request(scope, receive)
        seen = Seen(request.method, request.url.path, request.url.query, dict(request.headers))
        server.seen.append(seen)
        instead = None if server.meddle is None else server.meddle(request)
        if instead is not None:
            await instead(scope, receive, send)
            return
        server.streams += seen.last == "events"
        try:
            await self._app(scope, receive, send)
        finally:
            server.streams -= seen.last == "events"


def as_earth2(request: Request) -> Response | None:
    """Answer what Earth2Studio's server does not have as it does."""
    parts = request.url.path.removeprefix("/v1/infer").strip("/").split("/")
    if request.method == "GET" and len(parts) == 1 and parts != ["workflows"]:
        return JSONResponse({"detail": "Method Not Allowed"}, 405)
    if request.method == "DELETE" or parts[-1] in {
        "events",
        "cancel",
        "retry",
        "pin",
        "sign",
        "manifest",
        "deliveries",
    }:
        return JSONResponse({"detail": "Not Found"}, 404)
    return None


@pytest.fixture
def earth2() -> Meddle:
    """What makes the server one with few calls: ``api.meddle = earth2``."""
    return as_earth2


@pytest.fixture
def api(tmp_path) -> Iterator[Server]:
    """The API, which a test can meddle with, stop and start again."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def sent(client) -> Iterator[Callable[[Any], Any]]:
    """Give what another process gets of a client or an execution that is sent to it."""
    opened, runner = [], client._runner if isinstance(client, Blocking) else None

    def send(what: Any) -> Any:
        pickled = pickle.dumps(what if runner is None else what._target)
        assert TOKEN.encode() not in pickled
        copy = pickle.loads(pickled)  # noqa: S301 - our own bytes
        opened.append(copy._api if runner is None else Blocking(copy._api, runner))
        return copy if runner is None else Blocking(copy, runner)

    yield send
    for each in opened:
        each.close()


@pytest.fixture(params=["sync", "async"])
def client(request, api) -> Iterator[Any]:
    """Each face of the client, called as the blocking one."""
    if request.param == "sync":
        with wildcast.Client(api.url, TOKEN) as opened:
            opened._api._retry = QUICK
            yield opened
        return
    with asyncio.Runner() as runner:
        opened = Blocking(wildcast.AsyncClient(api.url, TOKEN), runner)
        opened._api._retry = QUICK
        yield opened
        opened.close()
