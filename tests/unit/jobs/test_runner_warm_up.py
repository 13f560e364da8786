"""Workflows that are constructed before their first execution."""

import logging
import threading

import pytest

from wildcast_server.errors import ExecutionCancelledError, RunnerDiedError, WorkflowLoadError
from wildcast_server.jobs import Runner

WORKFLOWS = """
import os, time
from pathlib import Path
from wildcast_server import Workflow, workflow

HERE = Path(__file__).parent

class Warm(Workflow):
    name = "warm"
    def __init__(self, config):
        super().__init__(config)
        with (HERE / "constructed").open("a") as file:
            file.write(f"{os.getpid()}\\n")
    def run(self, parameters, context):
        context.progress(pid=os.getpid())

class Unbuildable(Warm):
    name = "unbuildable"
    def __init__(self, config):
        raise OSError("no model")

class Deadly(Warm):
    name = "deadly"
    def __init__(self, config):
        with (HERE / "deaths").open("a") as file:
            file.write("x")
        os._exit(4)

class Slow(Warm):
    name = "slow"
    def __init__(self, config):
        (HERE / "begun").touch()
        time.sleep(600)

@workflow
def dies() -> None:
    os._exit(5)

@workflow
def long() -> None:
    time.sleep(6)
"""


@pytest.fixture
def flows(tmp_path):
    """Write the workflows."""
    directory = tmp_path / "flows"
    directory.mkdir()
    (directory / "flow.py").write_text(WORKFLOWS)
    return directory


@pytest.fixture
def runner_of(flows):
    """Make runners that warm some workflows up; close them at the end."""
    made = []

    def make(*names: str, **options: float) -> Runner:
        known = ("warm", "unbuildable", "deadly", "slow", "dies", "long")
        made.append(Runner([flows], sources=dict.fromkeys(known, flows / "flow.py"), warm_up=names, **options))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


@pytest.fixture
def constructed(flows, eventually):
    """Wait until `warm` was constructed so many times; return the processes."""

    def wait(number: int) -> list[int]:
        place = flows / "constructed"
        return eventually(
            lambda: place.exists() and len(lines := place.read_text().split()) >= number and list(map(int, lines))
        )

    return wait


def test_it_is_constructed_before_its_first_execution(runner_of, constructed, request_of):
    """The execution finds it in the same process, and does not construct it again."""
    runner = runner_of("warm")
    runner.warm_up()
    (pid,) = constructed(1)
    assert runner.pid == pid
    progress = []
    runner.run(request_of("warm"), progress.append)
    assert progress == [{"pid": pid}]
    assert constructed(1) == [pid]


def test_nothing_is_started_for_nothing(runner_of):
    """Without names there is no process before the first run."""
    runner = runner_of()
    runner.warm_up()
    assert runner.pid is None


def test_one_that_fails_is_named_and_harms_nothing(runner_of, constructed, request_of, caplog, flows, eventually):
    """File and reason are in the log; those behind it are warm, and runs go on."""
    caplog.set_level(logging.INFO)
    runner = runner_of("unbuildable", "warm")
    runner.warm_up()
    constructed(1)
    eventually(lambda: "the workflow 'warm' is warm" in caplog.text)
    (record,) = [record for record in caplog.records if "not warm" in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert str(flows / "flow.py") in record.getMessage()
    assert "OSError: no model" in record.getMessage()
    assert "Traceback (most recent call last)" in record.getMessage()
    assert "Traceback" not in "".join(other.getMessage() for other in caplog.records if other is not record)
    runner.run(request_of("warm"), lambda _: None)


def test_one_that_ends_the_process_is_left_cold(runner_of, constructed, request_of, caplog, flows, eventually):
    """It is tried once and named with its file; another process warms the others up."""
    runner = runner_of("deadly", "warm")
    runner.warm_up()
    constructed(1)
    eventually(lambda: "not tried again" in caplog.text)
    assert "'deadly'" in caplog.text
    assert str(flows / "flow.py") in caplog.text
    assert "exit code 4" in caplog.text
    runner.run(request_of("warm"), lambda _: None)
    assert (flows / "deaths").read_text() == "x"


def test_a_run_is_not_blamed_for_another_ones_warm_up(runner_of, request_of):
    """A run that comes first waits for the warm-up, and survives what ends the process there."""
    runner_of("deadly", "warm").run(request_of("warm"), lambda _: None)


def test_they_are_warm_again_after_a_death(runner_of, constructed, request_of):
    """The process that takes the dead one's place constructs them, without waiting for an execution."""
    runner = runner_of("warm")
    runner.warm_up()
    (first,) = constructed(1)
    with pytest.raises(RunnerDiedError):
        runner.run(request_of("dies"), lambda _: None)
    _, second = constructed(2)
    assert first != second
    progress = []
    runner.run(request_of("warm"), progress.append)
    assert progress == [{"pid": second}]


def test_a_name_counts_once(runner_of, constructed, caplog, eventually):
    """Named twice, it is constructed once."""
    caplog.set_level(logging.INFO)
    runner_of("warm", "warm").warm_up()
    constructed(1)
    eventually(lambda: "is warm" in caplog.text)
    assert caplog.text.count("ahead of its first execution") == 1


def test_closing_does_not_wait_for_a_constructor(runner_of, flows, eventually, is_running):
    """A model that takes hours to load does not hold the stop up."""
    runner = runner_of("slow")
    runner.warm_up()
    eventually((flows / "begun").exists)
    pid = runner.pid
    runner.close(600)
    assert not is_running(pid)


def test_a_run_that_waits_for_the_warm_up_can_be_cancelled(runner_of, request_of, flows, eventually):
    """The process is killed, and no workflow is blamed for that."""
    runner, errors = runner_of("slow"), []

    def run() -> None:
        try:
            runner.run(request_of("warm"), lambda _: None)
        except Exception as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually((flows / "begun").exists)
    assert runner.cancel(0.1)
    thread.join(20)
    assert isinstance(errors[0], ExecutionCancelledError)


def test_one_that_is_never_constructed_is_left_cold(runner_of, request_of, caplog, flows, eventually):
    """As one whose model comes from a server that hangs; what waits for its turn goes on without it."""
    runner = runner_of("slow", loading_seconds=4)
    runner.warm_up()
    eventually((flows / "begun").exists)
    runner.run(request_of("warm"), lambda _: None)
    (message,) = [record.getMessage() for record in caplog.records if "not tried again" in record.getMessage()]
    assert "'slow'" in message
    assert "took longer than 4 seconds, which is what workflows.loading_timeout allows" in message


def test_a_run_that_is_never_loaded_fails_with_the_reason(runner_of, request_of):
    """A cold one is constructed by its first execution; the next finds another process."""
    runner = runner_of(loading_seconds=4)
    with pytest.raises(WorkflowLoadError, match=r"'slow' .*took longer than 4 seconds.*workflows\.loading_timeout"):
        runner.run(request_of("slow"), lambda _: None)
    runner.run(request_of("warm"), lambda _: None)


def test_what_is_loaded_may_run_for_longer(runner_of, request_of):
    """The limit is one of loading."""
    runner_of(loading_seconds=4).run(request_of("long"), lambda _: None)
