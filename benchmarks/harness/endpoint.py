"""The loopback S3 endpoint, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PROGRAM = Path(__file__).parent.parent / "s3_endpoint.py"


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint."""

    url: str
    process: int

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far; it has one thread (proc(5): schedstat)."""
        return int(Path(f"/proc/{self.process}/schedstat").read_text().split()[0]) / 1e9

    def counts(self) -> dict[str, Any]:
        """Return what it has counted."""
        with urlopen(f"{self.url}/_control/stats") as answer:  # noqa: S310 - it is the one that we started
            return dict(json.load(answer))


@contextmanager
def endpoint(delay_ms: float) -> Iterator[Endpoint]:
    """Run an empty endpoint that lets each answer wait."""
    command = [sys.executable, PROGRAM, "--delay-ms", str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield Endpoint(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
        finally:
            process.terminate()


def environment(home: Path, endpoint_url: str) -> Mapping[str, str]:
    """Return the whole environment of a client: nothing of this machine's own AWS configuration."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_ENDPOINT_URL": endpoint_url,
    }
