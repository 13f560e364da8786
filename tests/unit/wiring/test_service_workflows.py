"""The workflows of a service: what is loaded, what is refused, what is warm, and what is told of what ran."""

import hashlib
import logging
import platform
import socket
import time

import pytest

import wildcast
from wildcast_server.errors import SettingsError
from wildcast_server.settings import load_settings
from wildcast_server.wiring.service import expose, load_registry
from wildcast_server.wiring.stack import Stack

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


def test_what_is_to_be_warm_is_constructed_without_an_execution(settings_of, flows):
    """The API is up meanwhile, and the constructor has run before anybody asked."""
    with Stack(settings_of(**{"workflows.warm_up": ["model"]})):
        deadline = time.monotonic() + 20
        while not (flows / "constructed").exists():
            assert time.monotonic() < deadline, "it was not constructed in time"
            time.sleep(0.02)


@pytest.mark.parametrize("storage", [False, True])
def test_the_result_tells_what_ran(settings_of, flows, storage):
    """Host, versions, hash, device, memory and timings are in the metadata, with either kind of storage."""
    with (
        Stack(settings_of(**{"object_storage.enabled": storage})) as stack,
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


def test_a_full_queue_refuses_and_takes_again(settings_of, flows):
    """One runs, one waits, and the third is refused until there is room."""
    waits = "import time\nfrom wildcast_server import workflow\n@workflow\ndef waits() -> None:\n    time.sleep(600)\n"
    (flows / "d_waits.py").write_text(waits)
    with (
        Stack(settings_of(**{"workflows.max_queued": 1})) as stack,
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
