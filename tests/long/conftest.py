"""Services that run for minutes, and the figures that docs/benchmarks.md has of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.long.processes import WORKFLOWS, Program, survivors

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Give the settings of a service with local objects: ``settings(database_url, **{"api.port": 1234})``."""

    def give(database_url: str, **more: Any) -> dict[str, Any]:
        return {
            "data_dir": tmp_path / "data",
            "database.url": database_url,
            "workflows.directories": WORKFLOWS,
            "workflows.max_queued": 100_000,
            "results.min_free_disk_bytes": 0,
            "object_storage.enabled": "true",
            **more,
        }

    return give


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs: ``start("serve", ["serve", "--port", "0"], settings)``; all are gone at the end."""
    started: list[Program] = []

    def begin(name: str, command: list[str], values: dict[str, Any]) -> Program:
        started.append(Program(tmp_path, name, command, values))
        return started[-1]

    yield begin
    for program in reversed(started):
        program.close()
    left = survivors(tmp_path / "starts")
    assert not left, f"these go on without a parent: {left}"


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note figures that are printed when all tests are done: ``figures("kill -9", finished="500 of 500")``."""

    def note(title: str, **values: object) -> None:
        line = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        request.config.stash.setdefault(_FIGURES, []).append(f"{title}: {line}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures, once."""
    lines = config.stash.get(_FIGURES, [])
    if lines:
        config.stash[_FIGURES] = []
        terminalreporter.section("executions")
        for line in lines:
            terminalreporter.write_line(line)
