"""Publications on this disk, and an edge in front of them that takes its time."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

BENCHMARKS = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).parent / "wildcast-server"


@dataclass(frozen=True)
class Edge:
    """A running edge, and the publications behind it."""

    url: str
    process: int
    data: Path
    port: int

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return (
            sum(
                int((task / "schedstat").read_text().split()[0])
                for task in Path(f"/proc/{self.process}/task").iterdir()
            )
            / 1e9
        )

    def counts(self) -> dict[str, Any]:
        """Return what it has counted."""
        with urlopen(f"{self.url}/_control/stats") as answer:  # noqa: S310 - it is the one that we started
            return dict(json.load(answer))

    def publish(self, directory: Path, name: str) -> Mapping[str, Any]:
        """Publish a directory; return the result's metadata, with a URL of this edge."""
        command = [PROGRAM, *_options(self.data, self.port), "publish", directory, "--name", name]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))


@contextmanager
def edge(data: Path, delay_ms: float, port: int | None = None) -> Iterator[Edge]:
    """Run an edge over what is published in `data`."""
    port = port or free_port()
    command = [sys.executable, BENCHMARKS / "delayed_edge.py", data, "--port", str(port), "--delay-ms", str(delay_ms)]
    with subprocess.Popen(command, env=_environment()) as process:
        try:
            _wait_for(port)
            yield Edge(f"http://127.0.0.1:{port}", process.pid, data, port)
        finally:
            process.terminate()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError("the edge did not start")
        time.sleep(0.05)


def _options(data: Path, port: int) -> list[str]:
    values = {"object_storage.enabled": "true", "data_dir": data, "edge.port": port, "log.level": "warning"}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def _environment() -> dict[str, str]:
    return {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
