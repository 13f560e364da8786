"""The workflows of a service: what is loaded, what is refused, what is warm, and what is told of what ran."""

import hashlib
import json
import logging
import platform
import socket
import threading
import time
from contextlib import closing

import pytest

import wildcast
from wildcast_server.errors import SettingsError
from wildcast_server.settings import load_settings
from wildcast_server.wiring.database import open_records
from wildcast_server.wiring.stack import Stack
from wildcast_server.wiring.stopping import StopRequestedError
from wildcast_server.wiring.workflows import expose, load_registry

GOOD = """
from pathlib import Path
from pydantic import BaseModel
from wildcast_server import RunContext, Workflow, workflow

@workflow
def writes(context: RunContext, n: int = 1) -> None:
    context.device = "cuda:7"
    context.progress(n, n)
    (context.output_directory / "a.txt").write_text("a" * n)

@workflow
def fails() -> None:
    raise ValueError("no convergence")

class Model(Workflow):
    name = "model"
    class Config(BaseModel):
        steps: int
    def __init__(self, config):
        super().__init__(config)
        (Path(__file__).parent / "constructed").touch()
    def run(self, parameters, context): ...
"""

FILES = {"a_exits": "import os; os._exit(0)", "b_raises": "import not_installed_anywhere", "c_good": GOOD}


@pytest.fixture
def flows(tmp_path):
    """Write a good file behind two that fail."""
    directory = tmp_path / "flows"
    directory.mkdir()
    for name, text in FILES.items():
        (directory / f"{name}.py").write_text(text)
    return directory


@pytest.fixture
def settings_of(tmp_path, flows):
    """Make settings of a service on free ports, with object storage off unless a test says otherwise."""

    def make(**values: object):
        given = {
            "data_dir": tmp_path / "data",
            "api.port": 0,
            "edge.port": 0,
            "results.min_free_disk_bytes": 0,
            "workflows.directories": [flows],
            "workflows.config": {"model": {"steps": 1}},
        }
        return load_settings(given | values, environ={}, cwd=tmp_path).settings

    return make


def build_registry(settings):
    return expose(settings.workflows, load_registry(settings.workflows))


def errors(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_a_file_that_ends_its_process_does_not_end_the_service(settings_of, flows, caplog):
    """The workflows of the other files are there; each file that failed is named with its reason."""
    registry = build_registry(settings_of())
    assert registry.names() == ["fails", "model", "writes"]
    told = "\n".join(errors(caplog))
    assert f"{flows / 'a_exits.py'} cannot be imported: a process that imports it ended with exit code 0" in told
    assert f"{flows / 'b_raises.py'} cannot be imported: ModuleNotFoundError" in told
    assert "c_good" not in told


def test_a_name_may_be_missing_because_its_file_failed(settings_of, caplog):
    """The other workflows are served; the operator reads which name is missing."""
    names = {
        "workflows.exposed": ["writes", "earth"],
        "workflows.config": {"earth": {}},
        "workflows.warm_up": ["earth"],
    }
    assert build_registry(settings_of(**names)).names() == ["writes"]
    for setting in ("exposed", "config", "warm_up"):
        assert any(line.startswith(f"workflows.{setting} names earth") for line in errors(caplog))


@pytest.mark.parametrize("setting", ["exposed", "config", "warm_up"])
def test_an_unknown_name_stops_the_start(settings_of, flows, setting):
    """Where every file was loaded, a name that no workflow has is a mistake in the settings."""
    for name in ("a_exits", "b_raises"):
        (flows / f"{name}.py").unlink()
    value = {"missing": {}} if setting == "config" else ["missing"]
    with pytest.raises(SettingsError, match=rf"workflows\.{setting} names missing.*fails, model, writes"):
        build_registry(settings_of(**{f"workflows.{setting}": value}))


@pytest.mark.parametrize("config", [{}, {"model": {"steps": "canary"}}, {"model": {"steps": 1, "more": "canary"}}])
def test_a_configuration_that_is_refused_is_told_at_the_start(settings_of, flows, caplog, config):
    """Workflow, file and field are named, the value is not; the others are served."""
    assert "writes" in build_registry(settings_of(**{"workflows.config": config}))
    (line,) = [line for line in errors(caplog) if "workflows.config.model" in line]
    assert str(flows / "c_good.py") in line
    assert "steps" in line or "more" in line
    assert "canary" not in caplog.text


def test_what_is_to_be_warm_is_constructed_without_an_execution(settings_of, flows, forks):
    """The API is up meanwhile, and the constructor has run before anybody asked."""
    with Stack(settings_of(**{"workflows.warm_up": ["model"]}), forks=forks):
        deadline = time.monotonic() + 20
        while not (flows / "constructed").exists():
            assert time.monotonic() < deadline, "it was not constructed in time"
            time.sleep(0.02)


@pytest.mark.parametrize("storage", [False, True])
def test_the_result_tells_what_ran(settings_of, flows, storage, forks):
    """Host, versions, hash, device, memory and timings are in the metadata, with either kind of storage."""
    with (
        Stack(settings_of(**{"object_storage.enabled": storage}), forks=forks) as stack,
        wildcast.Client(stack.api_url) as client,
    ):
        result = client.submit("writes", {"n": 3}).wait(timeout=60, progress=False)
        metadata = result.metadata
        ran = metadata.provenance
    assert (metadata.parameters, metadata.device) == ({"n": 3}, "cuda:7")
    assert metadata.peak_memory_usage == ran.peak_memory_bytes > 2**20
    assert (ran.host, ran.python, ran.device) == (socket.gethostname(), platform.python_version(), "cuda:7")
    assert ran.workflow_sha256 == hashlib.sha256((flows / "c_good.py").read_bytes()).hexdigest()
    assert min(ran.queued_seconds, ran.compute_seconds, ran.publish_seconds) >= 0


def test_a_full_queue_refuses_and_takes_again(settings_of, flows, forks):
    """One runs, one waits, and the third is refused until there is room."""
    waits = "import time\nfrom wildcast_server import workflow\n@workflow\ndef waits() -> None:\n    time.sleep(600)\n"
    (flows / "d_waits.py").write_text(waits)
    with (
        Stack(settings_of(**{"workflows.max_queued": 1}), forks=forks) as stack,
        wildcast.Client(stack.api_url) as client,
    ):
        first = client.submit("waits")
        deadline = time.monotonic() + 20
        while first.status().status != "running":
            assert time.monotonic() < deadline, "it did not begin in time"
            time.sleep(0.02)
        client.submit("waits")
        with pytest.raises(wildcast.WildcastError, match="no more than 1"):
            client.submit("waits")


def test_the_workflows_are_told_at_the_start(settings_of, flows, caplog):
    """One line says how many there are, in how many files, and their names."""
    caplog.set_level(logging.INFO)
    (flows / "d_one.py").write_text("from wildcast_server import workflow\n@workflow\ndef one() -> None: ...\n")
    build_registry(settings_of(**{"workflows.exposed": ["one", "writes", "fails"]}))
    assert "3 workflows from 2 files: fails, one, writes" in caplog.messages
    build_registry(settings_of(**{"workflows.exposed": ["one"]}))
    assert "1 workflow from 1 file: one" in caplog.messages


def test_a_file_without_a_workflow_is_told_at_the_start(settings_of, flows, caplog):
    """A decorator that was forgotten is noticed; a file that says why it has none is not complained about."""
    caplog.set_level(logging.DEBUG)
    (flows / "d_forgot.py").write_text("def forgot() -> None: ...\n")
    (flows / "e_declines.py").write_text("NO_WORKFLOW_BECAUSE = 'no GPU'\n")
    build_registry(settings_of())
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert told[0].startswith(f"{flows / 'd_forgot.py'} has no workflow: ")
    declined = f"{flows / 'e_declines.py'} has no workflow: no GPU"
    assert [r.levelno for r in caplog.records if r.getMessage() == declined] == [logging.DEBUG]


def test_a_file_that_appears_meanwhile_is_not_imported_untried(settings_of, flows):
    """What is imported is what was tried, though the trial itself should write another file."""
    late = flows / "z_late.py"
    text = "from wildcast_server import workflow\n@workflow\ndef late() -> None: ...\n"
    (flows / "d_writes_another.py").write_text(
        f"from pathlib import Path\nPath({str(late)!r}).write_text({text!r})\nNO_WORKFLOW_BECAUSE = ''\n"
    )
    assert "late" not in build_registry(settings_of())
    assert late.exists()
    assert "late" in build_registry(settings_of())


def test_loading_ends_when_it_is_told_to(settings_of, flows):
    """A file that hangs holds up nobody who does not want the service any more."""
    (flows / "d_hangs.py").write_text("import time; time.sleep(600)")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    with pytest.raises(StopRequestedError):
        load_registry(settings_of().workflows, stop)
    assert time.monotonic() - began < 60


def test_stopping_says_how_long_it_waits(settings_of, flows, capfd, forks):
    """The worker says it, which is a process of its own."""
    waits = "import time\nfrom wildcast_server import workflow\n@workflow\ndef waits() -> None:\n    time.sleep(600)\n"
    (flows / "d_waits.py").write_text(waits)
    settings = settings_of(**{"workers.drain_seconds": 0.5})
    with Stack(settings, forks=forks) as stack, wildcast.Client(stack.api_url) as client:
        execution = client.submit("waits")
        deadline = time.monotonic() + 20
        while execution.status().status != "running":
            assert time.monotonic() < deadline, "it did not begin in time"
            time.sleep(0.02)
    assert "stopping: a workflow that runs has 0.5 seconds, a publication 30" in capfd.readouterr().err
    with closing(open_records(settings)) as records:
        assert (records.get(execution.id).status, records.get(execution.id).attempt) == ("queued", 1)


BROKEN = """
from wildcast_server import Workflow

class Broken(Workflow):
    name = "broken"
    def __init__(self, config):
        raise OSError("no model")
    def run(self, parameters, context): ...
"""


def test_a_constructors_traceback_is_one_record(settings_of, flows, capfd, forks):
    """It is an error as a run's is, and not lines of output."""
    (flows / "d_broken.py").write_text(BROKEN)
    settings = settings_of(**{"log.format": "json"})
    with Stack(settings, forks=forks) as stack, wildcast.Client(stack.api_url) as client:
        execution = client.submit("broken")
        with pytest.raises(wildcast.WildcastError, match="no model"):
            execution.wait(timeout=60, progress=False)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    [record] = [record for record in logged if "Traceback" in record["message"]]
    assert record["level"] == "error"
    assert record["message"].startswith(f"{execution.id} failed: ")
    assert "line 7, in __init__" in record["message"]


def test_an_execution_ends_whose_file_was_taken_away(settings_of, flows, forks):
    """As docs/operating.md tells to be rid of one: the next start ends it, and does not run it again."""
    file = flows / "d_waits.py"
    file.write_text(
        "import time\nfrom wildcast_server import workflow\n@workflow\ndef waits() -> None:\n    time.sleep(600)\n"
    )
    with Stack(settings_of(), forks=forks) as stack, wildcast.Client(stack.api_url) as client:
        execution = client.submit("waits")
    file.unlink()
    with Stack(settings_of(), forks=forks):
        ended = eventually_ended(settings_of(), execution.id)
    assert ended.status == "failed"
    assert "has a workflow 'waits'" in ended.error_message
    assert "retry this" in ended.error_message


def eventually_ended(settings, execution_id):
    records = open_records(settings)
    try:
        deadline = time.monotonic() + 20
        while (execution := records.get(execution_id)).status not in {"failed", "completed"}:
            assert time.monotonic() < deadline, "it did not end in time"
            time.sleep(0.05)
        return execution
    finally:
        records.close()
