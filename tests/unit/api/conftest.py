"""The API on a real server, over records that a test can make fail and results on disk."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel, model_validator

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import Workflow, workflow
from wildcast_server.api import UseCases, create_api
from wildcast_server.api.actions import Actions
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.registry import Registry
from wildcast_server.http.outgoing import Outgoing
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.metrics import Metrics
from wildcast_server.publish import publish_in_place
from wildcast_server.records import MemoryRecords, ObservedRecords
from wildcast_server.store import open_store
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.sign import Sign
from wildcast_server.usecases.submit import Submit
from wildcast_server.usecases.workers import workers_by_queue
from wildcast_server.wiring.serving import ServerThread, bind, url_of

ID = "exec_1_00000001"


class Records(MemoryRecords):
    """Records that a test can make fail or wait."""

    def __init__(self) -> None:
        super().__init__()
        self.error = None
        self.gate = threading.Event()
        self.gate.set()

    def _meet(self):
        assert self.gate.wait(30)
        if self.error:
            raise self.error

    def standings(self, execution_ids):
        self._meet()
        return super().standings(execution_ids)

    def unfinished_counts(self):
        self._meet()
        return super().unfinished_counts()

    def check(self):
        self._meet()


class Store:
    """A stand-in for the store's check: what a test sets it to."""

    def __init__(self) -> None:
        self.error = None
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0

    def check(self):
        self.asked += 1
        assert self.gate.wait(30)
        if self.error:
            raise self.error


@pytest.fixture
def records() -> Iterator[Records]:
    """Records in memory that fail on request; whoever waits for them is let go at the end."""
    opened = Records()
    yield opened
    opened.gate.set()


@pytest.fixture
def store_check() -> Iterator[Store]:
    """What readiness asks besides the records and the engine."""
    store = Store()
    yield store
    store.gate.set()


@pytest.fixture
def workflows() -> Registry:
    """A registry of one workflow, whose name is also a word of the URLs."""
    registry = Registry()

    @workflow
    def results(n: int = 1) -> None:
        """Have a name that is also a word of the URLs."""

    registry.add(results)
    return registry


@pytest.fixture
def jobs() -> MemoryJobs:
    """An engine that keeps jobs, and has nobody who does them."""
    return MemoryJobs()


@pytest.fixture
def use_cases(records, store_check, workflows, jobs, tmp_path) -> UseCases:
    """Everything behind the API, over local results."""
    metrics = Metrics()
    observed = ObservedRecords(records, metrics)
    metrics.watch(observed.unfinished_counts)
    metrics.watch_workers(lambda: workers_by_queue(observed.workers()))
    lookup = Lookup(observed)
    results = Results(lookup, {"server": open_store(tmp_path.as_uri())}, None)
    return UseCases(
        workflows=workflows,
        submit=Submit(workflows, observed, jobs, Room(tmp_path, 0), check_webhook=Outgoing().check),
        lookup=lookup,
        results=results,
        listing=ListExecutions(workflows, observed),
        actions=Actions.of(lookup, observed, jobs, Ending("server")),
        sign=Sign(lookup, results, None),
        checks={"records": observed.check, "job engine": jobs.check},
        further_checks={"store": store_check.check},
        metrics=metrics,
    )


@pytest.fixture
def serve() -> Iterator[Callable[..., httpx.Client]]:
    """Serve use cases; all servers end with the test."""
    opened: list[object] = []

    def start(use_cases: UseCases) -> httpx.Client:
        bound = bind("127.0.0.1", 0, "api")
        server = ServerThread("API", create_api(use_cases, max_body_bytes=1000), bound)
        client = httpx.Client(base_url=url_of(bound), timeout=30)
        server.__enter__()
        opened.extend([server, client])
        return client

    yield start
    for each in reversed(opened):
        each.__exit__(None, None, None)


@pytest.fixture
def api(use_cases, serve, records, store_check) -> Iterator[httpx.Client]:
    """A client of the API."""
    yield serve(use_cases)
    # Before the server is told to end: it waits a moment for its threads.
    records.gate.set()
    store_check.gate.set()


@pytest.fixture
def published(records, tmp_path) -> Path:
    """A completed execution of the workflow `results`, with two files on disk."""
    records.insert(Execution(id=ID, workflow_name="results", parameters={}))
    directory = tmp_path / ID
    (directory / "results").mkdir(parents=True)
    (directory / "results" / "a.txt").write_text("inner")
    (directory / "a b?#%.txt").write_text("0123456789")
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    record = as_record(publish_in_place(directory, ID), 1)
    records.change(ID, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=record)
    return directory


@pytest.fixture
def slow_workflow(workflows) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Expose a workflow whose parameters are checked only when a test lets them: when it has begun, and the gate."""
    entered, gate = threading.Event(), threading.Event()

    class Parameters(BaseModel):
        """Takes its time."""

        @model_validator(mode="after")
        def _wait(self) -> "Parameters":
            entered.set()
            assert gate.wait(30)
            return self

    class Slow(Workflow):
        """Computes nothing."""

        name = "slow"

        def run(self, parameters, context): ...

    Slow.Parameters = Parameters
    workflows.add(Slow)
    yield entered, gate
    gate.set()
