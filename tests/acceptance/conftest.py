"""The whole stack on loopback, for tests that use it as its users do."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import wildcast
from wildcast_server.settings import load_settings
from wildcast_server.wiring.fork_server import ForkServer
from wildcast_server.wiring.stack import Stack

WORKFLOWS = Path(__file__).parent / "workflows"


@dataclass(frozen=True)
class Running:
    """A stack that runs, its client, and where it keeps things."""

    stack: Stack
    client: wildcast.Client
    http: httpx.Client
    data: Path

    def output_directory(self, execution: wildcast.Execution) -> Path:
        return self.data / "outputs" / execution.id

    def failure(self, workflow: str, **parameters: Any) -> tuple[wildcast.Execution, str]:
        """Submit what must fail; return the execution and the recorded reason."""
        execution = self.client.submit(workflow, **parameters)
        with pytest.raises(wildcast.ExecutionFailedError):
            execution.wait(timeout=60, progress=False)
        return execution, execution.status().error_message

    def assert_alive(self) -> None:
        """Show that the worker still runs what it is given."""
        result = self.client.submit("writes_text", text="alive").wait(timeout=60, progress=False)
        assert [file.size for file in result.files] == [5]


class Starter:
    """Starts stacks with the settings that a test names, over one data directory; `close` stops them all."""

    def __init__(self, directory: Path, forks: ForkServer) -> None:
        self._directory, self._forks = directory, forks
        self._open: list[Any] = []

    def __call__(self, **settings: Any) -> Running:
        values = {
            "data_dir": self._directory / "data",
            "api.port": 0,
            "edge.port": 0,
            "workflows.directories": [WORKFLOWS],
            "results.min_free_disk_bytes": 0,
            "object_storage.enabled": True,
        }
        loaded = load_settings({**values, **settings}, environ={}, cwd=self._directory)
        stack = Stack(loaded.settings, forks=self._forks)
        stack.__enter__()
        self._open.append(stack)
        client = wildcast.Client(stack.api_url)
        http = httpx.Client(base_url=stack.api_url, timeout=30)
        self._open.extend([client, http])
        return Running(stack, client, http, Path(values["data_dir"]))

    def close(self) -> None:
        for opened in reversed(self._open):
            opened.__exit__(None, None, None)


@pytest.fixture
def start(tmp_path, forks) -> Iterator[Starter]:
    """Start stacks with the settings that a test names; all are stopped at its end."""
    starter = Starter(tmp_path, forks)
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def start_once(tmp_path_factory, forks) -> Iterator[Starter]:
    """Start stacks for all tests of a module."""
    starter = Starter(tmp_path_factory.mktemp("module"), forks)
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, forks) -> Iterator[Any]:
    """Give a module's tests one stack for each storage type: ``shared("s3")``; they only add executions to it."""
    starters: dict[str, tuple[Starter, Running]] = {}

    def give(storage_type: str) -> Running:
        if storage_type not in starters:
            starter = Starter(tmp_path_factory.mktemp(storage_type), forks)
            starters[storage_type] = (starter, starter(**{"object_storage.enabled": storage_type == "s3"}))
        return starters[storage_type][1]

    yield give
    for starter, _ in starters.values():
        starter.close()


@pytest.fixture
def running(shared) -> Running:
    """The embedded stack, shared by a module's tests: local objects, our own edge."""
    return shared("s3")


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """An environment without this machine's settings, for processes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OBJECT_STORAGE", "CLOUDFRONT", "WILDCAST"))
    }
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "error"}
