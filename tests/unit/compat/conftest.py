"""Workflow files in Earth2Studio's manner, and what loads them."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from wildcast_server.domain.context import RunContext
from wildcast_server.domain.discovery import Discovery, discover
from wildcast_server.jobs import DIALECT


@pytest.fixture
def directory(tmp_path) -> Path:
    """A directory for workflow files."""
    made = tmp_path / "workflows"
    made.mkdir()
    return made


@pytest.fixture
def write_file(directory):
    """Write a workflow file."""

    def write(source: str, name: str = "file.py") -> Path:
        path = directory / name
        path.write_text(dedent(source))
        return path

    return write


@pytest.fixture
def load(directory, write_file):
    """Load the files of the directory, one of which is given."""

    def call(source: str | None = None) -> Discovery:
        if source is not None:
            write_file(source)
        return discover([directory], DIALECT)

    return call


@pytest.fixture
def load_one(load):
    """Load a file that gives one workflow; return its class."""

    def call(source: str):
        found = load(source)
        assert found.failures == ()
        [name] = found.registry.names()
        return found.registry.get(name)

    return call


@pytest.fixture
def failure_of(load):
    """Load a file that gives no workflow; return the sentence that says why."""

    def call(source: str) -> str:
        found = load(source)
        assert found.registry.names() == []
        [failure] = found.failures
        assert failure.message.count(str(failure.path)) == 1
        return failure.message

    return call


@pytest.fixture
def run_here(tmp_path):
    """Construct and run a workflow in this process; return its directory and all its progress."""

    def call(workflow, config=None, **parameters):
        progress: list[dict] = []
        output = tmp_path / "output"
        output.mkdir()
        instance = workflow(workflow.Config.model_validate(config or {}))
        context = RunContext("exec_1_00000000", output, on_progress=progress.append)
        instance.run(workflow.Parameters.model_validate(parameters), context)
        return output, progress

    return call


@pytest.fixture
def imported():
    """Give what can be compared before and after: the modules and finders of this process."""
    # By identity: modules are not compared by what they hold.
    return lambda: (dict(sys.modules), list(sys.meta_path))
