"""Workers of the jobs' adapter, each a process: killed, fenced, paused, and without their database for a while."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url, text

from wildcast_server.jobs import Job, JobState, dbos_engine
from wildcast_server.jobs.dbos_engine import DbosQueue, migrate_jobs

SCRIPT = Path(__file__).parent / "dbos_worker.py"


class Works:
    """A database, its workers, and what they say."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.log_path = directory / "log"
        self.errors = directory / "errors"
        migrate_jobs(url)
        self.queue = DbosQueue(url)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, executor: str, *queues: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it works."""
        before = self.log.count(f"{executor} up")
        command = [sys.executable, "-W", "ignore", str(SCRIPT), self.url, executor, str(self.log_path)]
        with self.errors.open("ab") as errors:
            process = subprocess.Popen([*command, *(queues or ("compute",))], stdout=errors, stderr=errors)
        self.processes.append(process)
        self.until(lambda: self.log.count(f"{executor} up") > before)
        return process

    def submit(self, name: str, order: int = 1) -> str:
        """Enqueue a job; return its id."""
        self.queue.enqueue(Job(f"{name}.1", "compute", "compute", name, order), None)
        return f"{name}.1"

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def says(self, line: str, times: int = 1) -> None:
        """Wait until a worker has said something so often."""
        self.until(lambda: self.log.splitlines().count(line) >= times)

    def is_done(self, *jobs: str) -> None:
        """Wait until jobs are done."""
        self.until(lambda: set(self.queue.states(jobs).values()) == {JobState.DONE})

    def go(self) -> None:
        """Let what waits end."""
        Path(f"{self.log_path}.go").touch()

    def until(self, condition, seconds=60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.log}\n{self.errors.read_text()[-4000:]}"
            time.sleep(0.05)

    def close(self) -> None:
        """End all workers."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.queue.close()


@pytest.fixture
def works(database_url, tmp_path):
    """A database with the engine's tables, and workers that end with the test."""
    made = Works(database_url, tmp_path)
    yield made
    made.close()


IN_ORDER = ("fails", "quick-z", "quick-y", "quick-a", "quick-m")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def worked(request, tmp_path_factory):
    """One worker that has done some jobs, for several tests to look at."""
    directory = tmp_path_factory.mktemp("worked")
    is_file = request.param == "sqlite"
    url = f"sqlite:///{directory / 'jobs.sqlite'}" if is_file else request.getfixturevalue("postgres").empty()
    made = Works(url, directory)
    jobs = [made.submit(name, order) for order, name in enumerate(IN_ORDER, 1)]
    made.start("A")
    made.is_done(*jobs)
    yield made
    made.close()


def test_a_slot_that_gets_free_takes_the_next_job_at_once(works, monkeypatch):
    """And not when it is its turn to poll, whatever ended the job before it: its end, an error, or a withdrawal."""
    jobs = [works.submit(name, number) for number, name in enumerate(("waits", "fails", "quick-1", "quick-2"), 1)]
    works.start("A")
    works.says(f"A second {jobs[0]}")
    # The worker reads this at its next poll, a moment from now.
    monkeypatch.setattr(dbos_engine, "POLL_SECONDS", 120.0)
    works.queue.declare(["compute"])
    time.sleep(1)
    works.queue.withdraw(jobs[:1])
    began = time.monotonic()
    works.is_done(*jobs)
    assert time.monotonic() - began < 30


@pytest.mark.long_on_postgres
def test_after_a_kill_finished_steps_are_not_done_again(works):
    """The process that comes back under the same name goes on with the step that was cut off."""
    job = works.submit("waits")
    worker = works.start("A")
    works.says(f"A second {job}")
    worker.kill()
    worker.wait()
    works.start("A")
    works.says(f"A second {job}", 2)
    works.go()
    works.is_done(job)
    assert works.log.splitlines().count(f"A first {job}") == 1
    assert f"A third {job} 1 ended" in works.log


@pytest.mark.long_on_postgres
def test_a_handler_that_raises_ends_nothing_else(worked):
    """Its job is done, and the next one is taken."""
    assert "third fails.1" not in worked.log
    assert "A third quick-z.1 1 ended" in worked.log


def test_jobs_of_one_moment_are_taken_in_order(worked):
    """The order is the job's own, whatever the clock of the database can tell apart."""
    assert re.findall(r"first (\S+)", worked.log) == [f"{name}.1" for name in IN_ORDER]


@pytest.mark.long_on_postgres
def test_a_withdrawn_job_is_interrupted_and_frees_its_slot(works):
    """A cancellation reaches the step although it is a BaseException, and nothing comes behind it."""
    job = works.submit("waits")
    works.start("A")
    works.says(f"A second {job}")
    works.queue.withdraw([job])
    works.says(f"A interrupted {job}")
    works.is_done(works.submit("quick"))
    assert f"third {job}" not in works.log
    assert "Traceback" not in works.errors.read_text()


@pytest.mark.long_on_postgres
def test_of_two_workers_with_one_job_only_the_later_one_goes_on(works):
    """Who was held for dead, and was not, is fenced at its next step."""
    job = works.submit("waits")
    works.start("A")
    works.says(f"A second {job}")
    works.start("B")
    # A has no slot free, so it is B that takes it.
    assert works.queue.give_back(job, "A")
    works.says(f"B second {job}")
    works.go()
    works.is_done(job, works.submit("quick"), works.submit("quick-too"))
    assert f"B third {job} 1 ended" in works.log
    assert f"A third {job}" not in works.log
    assert "Traceback" not in works.errors.read_text()


@pytest.mark.long_on_postgres
def test_a_dead_workers_job_is_taken_when_it_is_given_back(works):
    """Another worker takes nothing of it by itself; given back, it goes on there."""
    job = works.submit("waits")
    worker = works.start("A")
    works.says(f"A second {job}")
    worker.kill()
    worker.wait()
    works.start("B")
    works.is_done(works.submit("quick"))
    assert f"B second {job}" not in works.log
    assert works.queue.held_by("A") == [job]
    assert works.queue.give_back(job, "A")
    works.says(f"B second {job}")
    works.go()
    works.is_done(job)
    assert works.log.count(f"first {job}") == 1


@pytest.mark.long_on_postgres
def test_a_paused_worker_takes_nothing_new(works):
    """What it does goes on to its end, and what waits stays for others."""
    job = works.submit("waits")
    worker = works.start("A")
    works.says(f"A second {job}")
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    waiting = works.submit("quick")
    works.go()
    works.is_done(job)
    time.sleep(1.0)
    assert works.queue.states([waiting]) == {waiting: JobState.WAITING}
    os.kill(worker.pid, signal.SIGUSR1)
    assert worker.wait(20) == 0


def test_nothing_of_a_job_is_pickled(worked):
    """Neither its arguments nor what its steps returned, or raised."""
    engine = create_engine(_with_driver(worked.url))
    schema = None if engine.dialect.name == "sqlite" else "dbos"
    texts = []
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names(schema=schema):
            where = table if schema is None else f"{schema}.{table}"
            texts += [str(value) for row in connection.execute(text(f"SELECT * FROM {where}")) for value in row]  # noqa: S608 - constants
    engine.dispose()
    assert any("wildcast_json" in value for value in texts)
    # What begins so is a pickle in base64.
    assert not [value for value in texts if value.startswith("gA")]


def test_what_is_taken_and_not_worked_on_is_seen(worked):
    """As after a database that went away between both."""
    engine = create_engine(_with_driver(worked.url))
    job = "quick-m.1"
    table = "workflow_status" if engine.dialect.name == "sqlite" else "dbos.workflow_status"
    with engine.begin() as connection:
        change = f"UPDATE {table} SET status = 'PENDING', executor_id = 'A' WHERE workflow_uuid = :job"  # noqa: S608 - a constant
        connection.execute(text(change), {"job": job})
    engine.dispose()
    worked.says(f"A strayed {job}")
    assert worked.queue.give_back(job, "A")
    worked.is_done(job)


@pytest.mark.long
def test_a_database_that_is_away_costs_no_job(postgres, tmp_path):
    """The step that was going on ends meanwhile, and is kept when the database is back."""
    url = postgres.empty()
    works = Works(url, tmp_path)
    try:
        job = works.submit("waits")
        works.start("A")
        works.says(f"A second {job}")
        postgres.stop()
        works.go()
        time.sleep(10)
        postgres.start()
        works.until(lambda: f"A third {job} 1 ended" in works.log, 110)
        works.is_done(job)
        assert works.log.count(f"second {job}") == 1
    finally:
        works.close()


def _with_driver(url: str):
    parsed = make_url(url)
    return parsed if parsed.get_backend_name() == "sqlite" else parsed.set(drivername="postgresql+psycopg")
