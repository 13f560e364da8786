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


@pytest.fixture
def start(tmp_path) -> Iterator[Any]:
    """Start stacks with the settings that a test names; all are stopped at its end."""
    open_stacks: list[Any] = []

    def start_stack(**settings: Any) -> Running:
        values = {
            "data_dir": tmp_path / "data",
            "api.port": 0,
            "edge.port": 0,
            "workflows.directories": [WORKFLOWS],
            "results.min_free_disk_bytes": 0,
            "object_storage.enabled": True,
        }
        loaded = load_settings({**values, **settings}, environ={}, cwd=tmp_path)
        stack = Stack(loaded.settings)
        stack.__enter__()
        open_stacks.append(stack)
        client = wildcast.Client(stack.api_url)
        http = httpx.Client(base_url=stack.api_url, timeout=30)
        open_stacks.extend([client, http])
        return Running(stack, client, http, Path(values["data_dir"]))

    yield start_stack
    for opened in reversed(open_stacks):
        opened.__exit__(None, None, None)


@pytest.fixture
def running(start) -> Running:
    """The embedded stack: local objects, our own edge."""
    return start()


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """An environment without this machine's settings, for processes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OBJECT_STORAGE", "CLOUDFRONT", "WILDCAST"))
    }
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "error"}
