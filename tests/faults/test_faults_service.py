"""A service whose store is away or refuses, while an execution waits to be published."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import wildcast
from wildcast_server.settings import Settings, load_settings
from wildcast_server.wiring.fork_server import ForkServer
from wildcast_server.wiring.publishing import publish_alone
from wildcast_server.wiring.stack import Stack

_WORKFLOW = '''"""Counts how often it ran."""

from pathlib import Path

from wildcast_server import RunContext, workflow


@workflow
def counts(context: RunContext, runs: str) -> None:
    """Write a line for each run, and some output."""
    with Path(runs).open("a") as file:
        file.write("ran" + chr(10))
    (context.output_directory / "out.txt").write_text("out")
'''


@pytest.fixture
def serve(
    tmp_path: Path, endpoint: Any, forks: ForkServer
) -> Iterator[Callable[..., tuple[Settings, wildcast.Client]]]:
    """Start a service that publishes to the endpoint; the arguments are settings."""
    endpoint.ask("POST", "_control/reset")
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "counts.py").write_text(_WORKFLOW)
    started: list[Stack] = []

    def start(**settings: Any) -> tuple[Settings, wildcast.Client]:
        values = {
            "data_dir": tmp_path / "data",
            "api.port": 0,
            "edge.port": 0,
            "edge.public_url": "http://127.0.0.1:8001",
            "workflows.directories": [workflows],
            "results.min_free_disk_bytes": 0,
            "object_storage.enabled": True,
            "object_storage.bucket": "bucket",
            "object_storage.endpoint_url": endpoint.url,
            "object_storage.access_key_id": "testing",
            "object_storage.secret_access_key": "canary-secret",
        }
        loaded = load_settings({**values, **settings}, environ={}, cwd=tmp_path).settings
        stack = Stack(loaded, forks=forks)
        stack.__enter__()
        started.append(stack)
        return loaded, wildcast.Client(stack.api_url)

    yield start
    for stack in started:
        stack.__exit__(None, None, None)


def _wait_for(endpoint: Any, code: str) -> None:
    """Wait until the endpoint has refused somebody with this code."""
    until = time.monotonic() + 30
    while not endpoint.stats()["refused"].get(code):
        assert time.monotonic() < until, f"nobody was told {code}"
        time.sleep(0.05)


@pytest.mark.long
def test_an_outage_delays_an_execution_and_repeats_nothing(endpoint: Any, serve: Any, tmp_path: Path):
    """While the store answers 503 the execution waits; when it is back, it completes, in the one run that there was."""
    _, client = serve()
    with closing(client):
        endpoint.switch("unavailable", on=True)
        try:
            execution = client.submit("counts", runs=str(tmp_path / "runs"))
            _wait_for(endpoint, "ServiceUnavailable")
        finally:
            endpoint.switch("unavailable", on=False)
        assert [file.size for file in execution.wait(timeout=60, progress=False).files] == [3]
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("switch", "sentence"),
    [("access_denied", "check the credentials"), ("no_such_bucket", "there is no such bucket")],
)
def test_what_a_store_refused_is_published_later_without_running_again(
    endpoint: Any,
    serve: Any,
    tmp_path: Path,
    switch: str,
    sentence: str,
):
    """The record says what to do; the output stays, and `wildcast-server publish` of it succeeds once that is done."""
    settings, client = serve()
    with closing(client):
        endpoint.switch(switch, on=True)
        try:
            execution = client.submit("counts", runs=str(tmp_path / "runs"))
            with pytest.raises(wildcast.ExecutionFailedError):
                execution.wait(timeout=60, progress=False)
            message = execution.status().error_message
        finally:
            endpoint.switch(switch, on=False)
        assert sentence in message
        assert "canary" not in message
        metadata = publish_alone(settings, tmp_path / "data" / "outputs" / execution.id, None)
    assert endpoint.read(f"{metadata.publication.prefix}/out.txt") == b"out"
    assert metadata.publication.prefix.endswith(execution.id)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert endpoint.stats()["unfinished_uploads"] == []
