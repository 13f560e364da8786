"""The programs of the service as processes that can be looked at and killed."""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

PROGRAM = Path(sys.executable).parent / "wildcast-server"
WORKFLOWS = Path(__file__).parent / "workflows"
SERVICE = "SERVICE"
"""The variable that every process of one program has, with the same value, and no other process."""

MARK = "STARTS"
"""The variable that every process of a test has, with the same value, and no other process."""


def eventually(condition: Callable[[], object], seconds: float = 60.0, what: str = "it") -> Any:
    """Return what `condition` returns once that is true; fail if it takes too long."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} seconds"
        time.sleep(0.05)
    return result


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def clean_environment(starts: Path) -> dict[str, str]:
    """An environment without this machine's settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OBJECT_STORAGE", "CLOUDFRONT", "WILDCAST"))
    }
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", MARK: str(starts)}


class Program:
    """A ``wildcast-server`` with everything that it has started.

    Parameters
    ----------
    directory
        Where it runs; its log is there too.
    name
        Of its log.
    command
        Its command and options.
    settings
        By their names.
    """

    def __init__(self, directory: Path, name: str, command: list[str], settings: Mapping[str, object]) -> None:
        options = [part for setting, value in settings.items() for part in ("--set", f"{setting}={value}")]
        self._command = [PROGRAM, *options, *command]
        self._directory = directory
        self.name = name
        self.log_file = directory / f"{name}.log"
        self._environment = {**clean_environment(directory / "starts"), SERVICE: str(self.log_file)}
        self.start()

    def start(self) -> None:
        """Start it, again if it was killed."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def members(self) -> dict[str, list[psutil.Process]]:
        """Return its living processes by what they are: supervisor, fork server, api, edge, worker, runner.

        By their environment, since those whose fork server was killed are nobody's children any more.
        """
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(SERVICE) != str(self.log_file) or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                role = "supervisor" if process.pid == self.process.pid else _role_of(process)
                if role is not None:
                    found.setdefault(role, []).append(process)
        return found

    def kill(self) -> None:
        """Kill it alone."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
        """Tell it to stop; return its exit code."""
        if self.is_running:
            self.process.terminate()
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.is_running:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        if self.is_running:
            self.kill()


def _role_of(process: psutil.Process) -> str | None:
    beginning, _, role = process.name().partition("wildcast-")
    if not beginning and role in {"api", "edge", "worker"}:
        return role
    words = process.cmdline()
    if "wildcast_server.wiring.fork_server" in words:
        return "fork server"
    return "runner" if "wildcast_server.jobs.runner_process" in words else None


def survivors(starts: Path) -> list[str]:
    """Return the processes that have this mark, whoever their parents are now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(MARK) == str(starts) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid}: {' '.join(process.cmdline())[:200]}")
    return found


def noted(starts: Path, what: str = "begun") -> Counter[str]:
    """Return how often each workflow has noted that."""
    lines = (starts.read_text() if starts.exists() else "").splitlines()
    return Counter(line.split()[1] for line in lines if line.startswith(f"{what} "))


class Submitter:
    """A client that asks again, with the same key, until it has an answer.

    Parameters
    ----------
    url
        Of the API.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)
        self.asked_again = 0

    def submit(self, key: str, workflow: str = "writes", **parameters: Any) -> str:
        """Submit an execution; return its id."""
        return self.ask(
            "POST", f"/v1/infer/{workflow}", json={"parameters": parameters}, headers={"Idempotency-Key": key}
        )["execution_id"]

    def status(self, execution_id: str, workflow: str = "writes") -> dict[str, Any]:
        return self.ask("GET", f"/v1/infer/{workflow}/{execution_id}/status")

    def ask(self, method: str, path: str, seconds: float = 120.0, **options: Any) -> dict[str, Any]:
        """Ask until the answer is a good one."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self._client.request(method, path, **options)
                if answer.is_success:
                    return answer.json()
                problem = f"{answer.status_code}: {answer.text[:300]}"
                assert answer.status_code in (429, 502, 503, 504), problem
            except httpx.TransportError as error:
                problem = repr(error)
            assert time.monotonic() < deadline, f"{method} {path} had no good answer: {problem}"
            self.asked_again += 1
            time.sleep(0.1)

    def close(self) -> None:
        self._client.close()


def rows(url: str, statement: str) -> Iterator[tuple[Any, ...]]:
    """Ask a database, of which a service may be using every table meanwhile."""
    from sqlalchemy import create_engine, make_url, text

    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(parsed, hide_parameters=True)
    try:
        with engine.connect() as connection:
            yield from map(tuple, connection.execute(text(statement)).all())
    finally:
        engine.dispose()
