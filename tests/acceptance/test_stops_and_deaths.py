"""`wildcast-server serve` as a process: told to stop, killed, started twice; nothing accepted is lost."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

import wildcast

PROGRAM = Path(sys.executable).parent / "wildcast-server"
WORKFLOWS = Path(__file__).parent / "workflows"
TIMEOUT = 60.0


def eventually(condition: Callable[[], object]) -> object:
    deadline = time.monotonic() + TIMEOUT
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


class Server:
    """A `wildcast-server serve` and a client of it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        command = [PROGRAM, "serve", "--port", "0", "--edge-port", "0"]
        self.process = subprocess.Popen(
            command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        eventually(lambda: self._api() or self.process.poll() is not None)
        self.client = wildcast.Client(self._api().split()[1].removesuffix("/docs"))

    def _read(self) -> None:
        self.log.extend(iter(self.process.stderr.readline, ""))

    def _api(self) -> str:
        return next((line for line in self.log if line.startswith("API")), "")

    def begin(self, go: Path) -> tuple[wildcast.Execution, int]:
        """Submit a workflow that waits for `go`; return it and its process when it computes."""
        execution = self.client.submit("waits_for_a_file", path=str(go))
        return execution, eventually(lambda: (execution.status().progress or {}).get("pid"))

    def get(self, execution: wildcast.Execution) -> wildcast.Execution:
        """The same execution, asked of this server."""
        return self.client.get(execution.workflow, execution.id)

    def listens(self) -> bool:
        """Whether the API takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", urlsplit(self._api().split()[1]).port)) == 0

    def child(self, role: str) -> int:
        """The process that is the API, the edge or the worker now."""
        return eventually(lambda: self.children().get(role))

    def children(self) -> dict[str, int]:
        """The processes of the service by what they are."""
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                beginning, _, role = child.name().partition("wildcast-")
                if not beginning and role in {"api", "edge", "worker"} and child.status() != psutil.STATUS_ZOMBIE:
                    found[role] = child.pid
        return found

    def end(self, *numbers: int) -> int:
        """Send the signals, wait for the end, return the exit code."""
        for number in numbers:
            self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        self.close()
        return code

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stderr.close()


@pytest.fixture
def serve(tmp_path, clean_environment) -> Iterator[Callable[..., Server]]:
    """Start servers over the same data; all are gone at the end."""
    servers: list[Server] = []

    def start(**environment: str) -> Server:
        settings = {
            "WILDCAST_DATA_DIR": str(tmp_path / "data"),
            "WORKFLOW_DIR": str(WORKFLOWS),
            "OBJECT_STORAGE_ENABLED": "true",
            "WILDCAST_RESULTS__MIN_FREE_DISK_BYTES": "0",
        }
        servers.append(Server(tmp_path, clean_environment | settings | environment))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_an_idle_server_ends_well(serve, tmp_path, number):
    """Exit code 0, no traceback, and the warm process is gone."""
    server = serve()
    (tmp_path / "go").touch()
    execution = server.client.submit("waits_for_a_file", path=str(tmp_path / "go"))
    execution.wait(timeout=TIMEOUT, progress=False)
    pid = execution.status().progress["pid"]
    assert is_running(pid)
    assert server.end(number) == 0
    assert not is_running(pid)
    assert "Traceback" not in "".join(server.log)


def test_a_workflow_that_runs_is_interrupted_and_taken_up_again(serve, tmp_path):
    """SIGTERM: exit code 0, no orphan; the next start runs it to its end, in the same attempt."""
    first = serve()
    execution, pid = first.begin(tmp_path / "go")
    waiting = first.client.submit("writes_text")
    assert first.end(signal.SIGTERM) == 0
    assert not is_running(pid)
    (tmp_path / "go").touch()
    second = serve()
    for each in (execution, waiting):
        result = second.get(each).wait(timeout=TIMEOUT, progress=False)
        assert len(result.files) == 1
        assert result.metadata.publication.attempt == 1


@pytest.mark.long
def test_a_signal_to_all_processes_interrupts_in_order_too(serve, tmp_path):
    """Some service managers signal the whole control group: the execution is no failure then either."""
    first = serve()
    execution, pid = first.begin(tmp_path / "go")
    os.kill(pid, signal.SIGTERM)
    assert first.end(signal.SIGTERM) == 0
    (tmp_path / "go").touch()
    assert serve().get(execution).wait(timeout=TIMEOUT, progress=False).files


def test_a_killed_server_leaves_nothing_and_loses_nothing(serve, tmp_path):
    """After kill -9 the workflow's process is gone as well; the next start runs the execution in another attempt."""
    first = serve()
    execution, pid = first.begin(tmp_path / "go")
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: not is_running(pid))
    (tmp_path / "go").touch()
    result = serve().get(execution).wait(timeout=TIMEOUT, progress=False)
    assert result.metadata.publication.attempt == 2


def test_a_killed_worker_is_started_again_and_goes_on(serve, tmp_path):
    """Kill -9 of it: the workflow's process is gone at once, and the next worker runs the execution again."""
    server = serve()
    execution, pid = server.begin(tmp_path / "go")
    before = server.child("worker")
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    (tmp_path / "go").touch()
    result = execution.wait(timeout=TIMEOUT, progress=False)
    assert time.monotonic() - began < 20
    assert result.metadata.publication.attempt == 2
    assert server.child("worker") != before


def test_no_request_is_refused_while_a_killed_api_is_started_again(serve):
    """The supervisor holds its socket: who connects meanwhile waits for a moment."""
    server = serve()
    before = server.child("api")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: not is_running(before))
    began = time.monotonic()
    assert server.client.submit("writes_text").wait(timeout=TIMEOUT, progress=False).files
    assert time.monotonic() - began < 20
    assert server.child("api") != before


@pytest.mark.long
def test_a_killed_edge_is_started_again(serve):
    """URLs that were signed before open after that, since its key is the same."""
    server = serve()
    result = server.client.submit("writes_text", text="hello").wait(timeout=TIMEOUT, progress=False)
    url = result.signed_url.replace("*", result.paths[0], 1)
    assert httpx.get(url).text == "hello"
    before = server.child("edge")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: not is_running(before))
    assert httpx.get(url, timeout=TIMEOUT).text == "hello"


def test_a_killed_supervisor_leaves_no_process(serve, tmp_path):
    """All that it had started ends by itself, and there is room for the next."""
    server = serve()
    _, pid = server.begin(tmp_path / "go")
    children = server.children()
    assert children.keys() == {"api", "edge", "worker"}
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    began = time.monotonic()
    eventually(lambda: not any(map(is_running, [pid, *children.values()])))
    assert time.monotonic() - began < 5
    (tmp_path / "go").touch()
    assert serve().client.submit("writes_text").wait(timeout=TIMEOUT, progress=False).files


@pytest.mark.long
def test_an_idle_runner_that_is_killed_is_replaced(serve, tmp_path):
    """A process that the kernel takes between two executions costs nothing."""
    server = serve()
    (tmp_path / "go").touch()
    execution = server.client.submit("waits_for_a_file", path=str(tmp_path / "go"))
    execution.wait(timeout=TIMEOUT, progress=False)
    pid = execution.status().progress["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    assert server.client.submit("writes_text").wait(timeout=TIMEOUT, progress=False).files


@pytest.mark.long
def test_a_second_server_over_the_same_data_is_refused(serve, tmp_path, clean_environment):
    """It would take up what the first one is running; the first one goes on."""
    first = serve()
    execution, _ = first.begin(tmp_path / "go")
    environment = clean_environment | {"WILDCAST_DATA_DIR": str(tmp_path / "data"), "WORKFLOW_DIR": str(WORKFLOWS)}
    command = [PROGRAM, "serve", "--port", "0", "--edge-port", "0"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1
    assert "another wildcast-server" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "go").touch()
    assert execution.wait(timeout=TIMEOUT, progress=False).metadata.publication.attempt == 1


class HeldStore:
    """An S3 endpoint in front of another one that lets no PUT through until it is told to."""

    def __init__(self, behind: str) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        held = self

        class Handler(BaseHTTPRequestHandler):
            """Passes requests on."""

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.command == "PUT":
                    held.reached.set()
                    held.open.wait(TIMEOUT)
                connection = http.client.HTTPConnection(urlsplit(behind).netloc)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                data = answer.read()
                with suppress(OSError):
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                            self.send_header(name, value)
                    length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
                    self.send_header("Content-Length", length or "0")
                    self.end_headers()
                    self.wfile.write(data)
                connection.close()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the standard library's names

            def log_message(self, *_arguments: object) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def settings(self, bucket: str) -> dict[str, str]:
        return {
            "OBJECT_STORAGE_BUCKET": bucket,
            "OBJECT_STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{self.server.server_port}",
            "OBJECT_STORAGE_ACCESS_KEY_ID": "testing",
            "OBJECT_STORAGE_SECRET_ACCESS_KEY": "testing",
        }

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def held(s3_endpoint) -> Iterator[HeldStore]:
    """A store whose uploads wait."""
    made = HeldStore(s3_endpoint)
    yield made
    made.close()


@pytest.mark.long
def test_a_publication_that_is_going_on_is_ended(serve, held, bucket):
    """SIGTERM waits for an upload that ends within the grace; the next start finds it completed."""
    first = serve(**held.settings(bucket))
    execution = first.client.submit("writes_text")
    eventually(lambda: f"{execution.id} is published, attempt 1" in "".join(first.log))
    assert held.reached.wait(TIMEOUT)
    first.process.send_signal(signal.SIGTERM)
    eventually(lambda: not first.listens())
    held.open.set()
    assert first.end() == 0
    result = serve(**held.settings(bucket)).get(execution).result()
    assert [file.size for file in result.files] == [5]


def test_a_second_ctrl_c_ends_at_once(serve, held, bucket):
    """Who does not want to wait for the upload need not; the next start publishes it."""
    first = serve(**held.settings(bucket))
    execution = first.client.submit("writes_text")
    eventually(lambda: f"{execution.id} is published, attempt 1" in "".join(first.log))
    assert held.reached.wait(TIMEOUT)
    first.process.send_signal(signal.SIGINT)
    eventually(lambda: not first.listens())
    assert first.process.poll() is None
    began = time.monotonic()
    assert first.end(signal.SIGINT) == -signal.SIGINT
    assert time.monotonic() - began < 10
    held.open.set()
    result = serve(**held.settings(bucket)).get(execution).wait(timeout=TIMEOUT, progress=False)
    assert [file.size for file in result.files] == [5]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_start_is_ended_while_a_file_is_tried(tmp_path, clean_environment, number):
    """An import that hangs does not keep the service from heeding a stop; that it has is the last line."""
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "hangs.py").write_text(
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); time.sleep(600)"
    )
    settings = {"WILDCAST_DATA_DIR": str(tmp_path / "data"), "WORKFLOW_DIR": str(flows)}
    command = [PROGRAM, "serve", "--port", "0", "--edge-port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment | settings, stderr=subprocess.PIPE, text=True
    ) as process:
        eventually((tmp_path / "begun").exists)
        process.send_signal(number)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert log.splitlines()[-1].endswith(": stopped")
    assert "Traceback" not in log


@pytest.mark.long
def test_stopped_is_the_last_that_is_said(serve):
    """Whoever pressed Ctrl-C sees when it is over, and nothing of seconds for a workflow that does not run."""
    server = serve()
    assert server.end(signal.SIGINT) == 0
    assert server.log[-1].rstrip().endswith(": stopped")
    assert not [line for line in server.log if "seconds" in line]
