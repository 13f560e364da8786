"""Workers as processes of their own on a database of each kind, killed and started by tests."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from wildcast.contract.naming import new_execution_id
from wildcast_server.domain.execution import Execution
from wildcast_server.failpoints import VARIABLE
from wildcast_server.jobs import JobState
from wildcast_server.jobs.dbos_engine import DbosQueue
from wildcast_server.settings import Settings, load_settings
from wildcast_server.usecases.queues import compute_job
from wildcast_server.wiring.database import database_url as url_of
from wildcast_server.wiring.database import ensure_database, open_records
from wildcast_server.wiring.fork_server import Forked, ForkServer
from wildcast_server.wiring.hand_over import HandOver, plain, write_whole
from wildcast_server.wiring.lifeline import Lifeline
from wildcast_server.wiring.worker import QUEUES

HERE = Path(__file__).parent
TIMEOUT = 60.0


def bytes_of(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}


def until(condition: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.05)


@dataclass
class Site:
    """A database, the disks of one machine, and the workers on it."""

    root: Path
    url: str
    forks: ForkServer
    name: str = "data"
    values: dict[str, Any] = field(default_factory=dict)
    workers: list[Forked] = field(default_factory=list)
    lifeline: Lifeline = field(default_factory=Lifeline)

    def __post_init__(self) -> None:
        self.settings = self._settings()
        ensure_database(self.settings)
        self.records = open_records(self.settings)
        self.jobs = DbosQueue(url_of(self.settings))

    def _settings(self) -> Settings:
        values = {
            "data_dir": str(self.root / self.name),
            "results.output_dir": str(self.root / self.name / "outputs"),
            "database.url": self.url,
            "workflows.directories": [str(HERE / "workflows")],
            "object_storage.enabled": True,
            "object_storage.store": f"file://{self.root / 'store'}",
            "edge.enabled": True,
            **self.values,
        }
        self.path = self.root / f"{self.name}.json"
        self.path.write_text(json.dumps(values))
        return load_settings(values, environ={}, cwd=self.root).settings

    def submit(self, workflow: str, **parameters: Any) -> str:
        """Record an execution with its job, in one transaction."""
        execution = Execution(id=new_execution_id(), jobs=1, workflow_name=workflow, parameters=parameters)
        enqueue = self.jobs.enqueue
        return self.records.insert(execution, within=lambda now, at: enqueue(compute_job(now), at)).execution.id

    def start(self, failpoint: str | None = None, *queues: str) -> Forked:
        """Start a worker; one with a failpoint dies there as by kill -9."""
        environ = {**os.environ, "STARTS": str(self.root / "starts"), "PYTHONWARNINGS": "ignore"}
        if failpoint is not None:
            environ[VARIABLE] = failpoint
        handed_read, handed_write = os.pipe()
        told_read, told_write = os.pipe()
        lifeline = self.lifeline.descriptor
        handed = HandOver(
            settings=plain(self.settings),
            arguments={"queues": list(queues or QUEUES)},
            sockets={},
            lifeline=lifeline,
            told=told_write,
        )
        write_whole(handed_write, msgspec.json.encode(handed))
        with (self.root / "log").open("ab") as log:
            output = (log.fileno(), log.fileno())
            worker = self.forks.fork(
                "worker", [handed_read, told_write, lifeline], environ=bytes_of(environ), output=output
            )
        for descriptor in (handed_read, told_read, told_write):
            os.close(descriptor)
        self.workers.append(worker)
        return worker

    @property
    def log(self) -> str:
        """What all workers have logged."""
        return (self.root / "log").read_text()

    def ended(self, execution_id: str) -> Execution:
        """Wait for its end."""
        until(lambda: self.records.get(execution_id).status.is_final, f"the end of {execution_id}")
        return self.records.get(execution_id)

    def starts(self, execution_id: str) -> list[list[int]]:
        """Return the processes of each time that its workflow was begun."""
        path = self.root / "starts"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [[int(number) for number in rest] for name, *rest in lines if name == execution_id]

    def started(self, execution_id: str, times: int = 1) -> list[int]:
        """Wait until its workflow has been begun so often; return the processes of the last time."""
        until(lambda: len(self.starts(execution_id)) >= times, f"start {times} of {execution_id}")
        return self.starts(execution_id)[-1]

    def go(self) -> None:
        """Let `stubborn` end."""
        (self.root / "starts.go").touch()

    def objects(self, execution_id: str) -> set[str]:
        """Return what the store has of it, manifest and all."""
        prefix = self.root / "store" / "outputs"
        # Unlike `rglob`, `walk` does not mind a directory that goes meanwhile.
        walked = [step for place in prefix.glob(f"{execution_id}*") for step in os.walk(place)]
        found = [Path(directory, name) for directory, _, names in walked for name in names]
        # A directory's store writes beside the name that it renames to: what a kill leaves there is no object.
        return {str(path.relative_to(prefix)) for path in found if "#" not in path.name}

    def engine_is_done(self, execution_id: str) -> bool:
        """Whether no job of it is left to be done."""
        count = self.records.get(execution_id).jobs
        states = self.jobs.states([f"{execution_id}.{number}" for number in range(1, count + 1)])
        return set(states.values()) == {JobState.DONE}

    def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        self.lifeline.close()
        self.jobs.close()
        self.records.close()


def is_alive(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(worker: Forked) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


@pytest.fixture
def site_of(tmp_path, database_url, forks) -> Iterator[Callable[..., Site]]:
    """Make sites on one database; a test names what differs."""
    sites: list[Site] = []

    def build(name: str = "data", **values: Any) -> Site:
        sites.append(Site(tmp_path, database_url, forks, name, values))
        return sites[-1]

    yield build
    for site in sites:
        site.close()


@pytest.fixture
def site(site_of) -> Site:
    """A site as most tests want it."""
    return site_of()
