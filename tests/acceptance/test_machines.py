"""Several machines on one database: what one cannot end, another one does."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import wildcast

pytestmark = pytest.mark.long

PROGRAM = Path(sys.executable).parent / "wildcast-server"
WORKFLOWS = Path(__file__).parent / "workflows"
TIMEOUT = 60.0
HASTY = {"WILDCAST_WORKERS__HEARTBEAT_SECONDS": "0.5", "WILDCAST_WORKERS__DEAD_AFTER_SECONDS": "3"}


def eventually(condition: Callable[[], object], seconds: float = TIMEOUT) -> object:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


class Machine:
    """A command of `wildcast-server` with a data directory of its own, as on a machine of its own."""

    def __init__(self, directory: Path, environment: dict[str, str], *arguments: str) -> None:
        directory.mkdir()
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=directory,
            env=environment | {"WILDCAST_DATA_DIR": str(directory / "data")},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=lambda: self.log.extend(iter(self.process.stderr.readline, "")))
        self._reader.start()
        eventually(lambda: self.said("API ") or self.said("worker up") or self.process.poll() is not None)
        assert self.process.poll() is None, self.log

    def said(self, words: str) -> str:
        return next((line for line in self.log if words in line), "")

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that live."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            # One that has just ended cannot be asked any more.
            with suppress(psutil.NoSuchProcess):
                if child.name() == "wildcast-worker":
                    found.append(child)
        return found

    def die(self) -> None:
        """Lose power: all of its processes are gone at once."""
        for child in [psutil.Process(self.process.pid), *self.workers()]:
            child.kill()

    def close(self) -> None:
        if self.process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                self.die()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()


@pytest.fixture
def start(tmp_path, clean_environment, database_url) -> Iterator[Callable[..., Machine]]:
    """Start machines, which share the database and the objects; all end with the test."""
    machines: list[Machine] = []
    settings = {
        "WILDCAST_DATABASE__URL": database_url,
        "WORKFLOW_DIR": str(WORKFLOWS),
        "OBJECT_STORAGE_ENABLED": "true",
        "WILDCAST_OBJECT_STORAGE__STORE": (tmp_path / "objects").as_uri(),
        "WILDCAST_RESULTS__MIN_FREE_DISK_BYTES": "0",
    }

    def begin(*arguments: str, **environment: str) -> Machine:
        variables = clean_environment | settings | environment
        machines.append(Machine(tmp_path / f"machine-{len(machines)}", variables, *arguments))
        return machines[-1]

    yield begin
    for machine in machines:
        machine.close()


@pytest.fixture
def client(start) -> Iterator[wildcast.Client]:
    """A client of an API without workers."""
    machine = start("api", "--port", "0")
    with wildcast.Client(machine.said("API ").split()[1].removesuffix("/docs")) as made:
        yield made


def running_pid(execution: wildcast.Execution) -> int:
    return eventually(lambda: (execution.status().progress or {}).get("pid"))


@pytest.mark.parametrize(
    ("settings", "seconds"), [(HASTY, 15), pytest.param({}, 30, marks=pytest.mark.long)], ids=["hasty", "default"]
)
def test_a_dead_machines_execution_is_taken_over(start, client, tmp_path, settings, seconds):
    """In time, as another attempt, at another place; the API needs neither of them."""
    first = start("worker", **settings)
    execution = client.submit("waits_for_a_file", path=str(tmp_path / "go"))
    pid = running_pid(execution)
    start("worker", **settings)
    first.die()
    died = time.monotonic()
    eventually(lambda: running_pid(execution) != pid)
    assert time.monotonic() - died < seconds
    (tmp_path / "go").touch()
    publication = execution.wait(timeout=TIMEOUT, progress=False).metadata.publication
    assert (publication.attempt, publication.prefix) == (2, f"outputs/{execution.id}-2")


def test_a_machine_that_is_told_to_stop_gives_its_work_away(start, client, tmp_path):
    """At once, and without that an attempt is spent."""
    first = start("worker", WILDCAST_WORKERS__DRAIN_SECONDS="0.5")
    execution = client.submit("waits_for_a_file", path=str(tmp_path / "go"))
    pid = running_pid(execution)
    start("worker")
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(TIMEOUT) == 0
    stopped = time.monotonic()
    eventually(lambda: running_pid(execution) != pid)
    assert time.monotonic() - stopped < 10
    (tmp_path / "go").touch()
    assert execution.wait(timeout=TIMEOUT, progress=False).metadata.publication.attempt == 1


def test_a_machine_that_was_asleep_records_nothing_of_what_it_did(start, client, tmp_path):
    """Its execution belongs to another one by now: it ends, is started again, and works on."""
    first = start("worker", **HASTY)
    execution = client.submit("waits_for_a_file", path=str(tmp_path / "go"))
    pid = running_pid(execution)
    start("worker", **HASTY)
    [asleep] = first.workers()
    asleep.suspend()
    eventually(lambda: running_pid(execution) != pid)
    (tmp_path / "go").touch()
    publication = execution.wait(timeout=TIMEOUT, progress=False).metadata.publication
    asleep.resume()
    eventually(lambda: first.said("was held for dead"))
    eventually(lambda: any(worker.pid != asleep.pid for worker in first.workers()))
    assert execution.status().status == "completed"
    assert execution.result().metadata.publication == publication
    objects = {
        path.relative_to(tmp_path / "objects").parts[1] for path in (tmp_path / "objects").rglob("*") if path.is_file()
    }
    assert objects == {f"{execution.id}-2"}


def test_each_slot_is_one_at_a_time(start, client, tmp_path):
    """Two slots run two at once; the third waits."""
    machine = start("worker", "--queue", "compute", "--queue", "publish", "--slots", "2")
    assert len(machine.workers()) == 2
    go = str(tmp_path / "go")
    executions = [client.submit("waits_for_a_file", path=go) for _ in range(3)]
    assert len({running_pid(execution) for execution in executions[:2]}) == 2
    assert executions[2].status().status == "queued"
    Path(go).touch()
    for execution in executions:
        assert execution.wait(timeout=TIMEOUT, progress=False).files


def test_a_worker_for_publishing_computes_nothing(start, client):
    """And one for computing publishes nothing."""
    machine = start("worker", "--queue", "compute")
    execution = client.submit("writes_text")
    eventually(lambda: execution.status().status == "pending_results")
    os.kill(machine.process.pid, signal.SIGTERM)
    assert machine.process.wait(TIMEOUT) == 0
    assert execution.status().status == "pending_results"
