"""Forking children from a process that has imported everything."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from wildcast_server.settings import load_settings
from wildcast_server.wiring.child import worker_child
from wildcast_server.wiring.fork_server import UNKNOWN, Forked, ForkServer, ForkServerError, Request, _Child
from wildcast_server.wiring.hand_over import HandOver, Told, plain, write_whole
from wildcast_server.wiring.lifeline import Lifeline
from wildcast_server.wiring.supervisor import Supervisor


@pytest.fixture
def alone() -> Iterator[ForkServer]:
    """One that imports little, of this test alone."""
    server = ForkServer(["wildcast_server.wiring.child"])
    yield server
    server.close()


def fork(server: ForkServer, tmp_path: Path, lifeline: Lifeline, *, wait: bool = True) -> Forked:
    """Fork an edge, which runs until it is told to end; return when it is up. Its log is a file."""
    given = {"data_dir": tmp_path, "edge.port": 0}
    settings = load_settings(given, environ={}, cwd=tmp_path).settings
    read, write = os.pipe()
    up, told = os.pipe()
    handed = HandOver(settings=plain(settings), arguments={}, sockets={}, lifeline=lifeline.descriptor, told=told)
    write_whole(write, msgspec.json.encode(handed))
    with (tmp_path / "log").open("ab") as log:
        environ = {b"PATH": os.environb[b"PATH"], b"CANARY": b"\xff" * 200_000}
        forked = server.fork(
            "edge", [read, told, lifeline.descriptor], environ=environ, output=(log.fileno(), log.fileno())
        )
    for descriptor in (read, told):
        os.close(descriptor)
    with os.fdopen(up, "rb") as said:
        if not wait:
            return forked
        assert msgspec.json.decode(said.read(), type=Told).error is None
    return forked


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_forked_is_a_process_of_its_own(alone, tmp_path):
    """With a session, an environment, a directory and an output of its own, and no thread or descriptor too many."""
    before = descriptors()
    with Lifeline() as lifeline:
        forked = fork(alone, tmp_path, lifeline)
        process = psutil.Process(forked.pid)
        assert process.name() == "wildcast-edge"
        assert os.getsid(forked.pid) == forked.pid
        assert forked.poll() is None
        outputs = {Path(f"/proc/{forked.pid}/fd/{number}").readlink() for number in (1, 2)}
        assert outputs == {tmp_path / "log"}
        assert forked.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            forked.wait(0.01)
        forked.send_signal(signal.SIGTERM)
        assert forked.wait(20) == 0
    assert "canary" not in repr(Request("edge", {b"A": b"canary"}, b"/", ())).lower()
    alone.close()
    assert descriptors() == before


def test_it_says_which_signal_killed_a_process(alone, tmp_path):
    """And sends none to a process that has ended."""
    with Lifeline() as lifeline:
        forked = fork(alone, tmp_path, lifeline)
        forked.kill()
        assert forked.wait(10) == -signal.SIGKILL
        forked.kill()
        assert forked.poll() == -signal.SIGKILL


def test_a_signal_that_comes_at_once_is_heeded(alone, tmp_path):
    """Before it has become anything, and whenever after that."""
    with Lifeline() as lifeline:
        for _ in range(20):
            forked = fork(alone, tmp_path, lifeline, wait=False)
            forked.send_signal(signal.SIGTERM)
            assert forked.wait(20) in {0, -signal.SIGTERM}


def test_what_nobody_has_heard_of_does_nothing():
    """Where the fork server dies between forking and answering, another is forked in its place."""
    go, goes = os.pipe()
    os.close(goes)
    assert _Child(-1, go, [-1, -1]).run() == UNKNOWN


def test_it_ends_while_it_imports(tmp_path):
    """Nobody waits for it any more when its parent is gone."""
    imports = "import time\nfor number in range(600):\n    time.sleep(0.1)\n    try: __import__(f'missing_{number}')\n"
    (tmp_path / "slow_one.py").write_text(imports + "    except ImportError: pass\n")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "wildcast_server.wiring.fork_server", str(theirs.fileno()), "slow_one"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environ) as process:
        theirs.close()
        ours.close()
        assert process.wait(20) == UNKNOWN


def test_what_is_forked_ends_with_its_parent(alone, tmp_path):
    """By the lifeline, as a program does."""
    lifeline = Lifeline()
    forked = fork(alone, tmp_path, lifeline)
    lifeline.close()
    assert forked.wait(20) == 1


def test_a_killed_fork_server_takes_nobody_along(alone, tmp_path):
    """What it forked goes on, with an exit code that nobody knows; and another one is begun when it is needed."""
    with Lifeline() as lifeline:
        forked = fork(alone, tmp_path, lifeline)
        os.kill(psutil.Process(forked.pid).ppid(), signal.SIGKILL)
        another = fork(alone, tmp_path, lifeline)
        assert forked.poll() is None
        for each, code in ((forked, UNKNOWN), (another, 0)):
            each.send_signal(signal.SIGTERM)
            assert each.wait(20) == code


def test_it_has_one_thread(forks, tmp_path):
    """Whatever is imported: what was forked from several would lack all but one, and their locks."""
    with Lifeline() as lifeline:
        forked = fork(forks, tmp_path, lifeline)
        server = psutil.Process(psutil.Process(forked.pid).ppid())
        assert server.num_threads() == 1
        forked.kill()
        forked.wait(10)


def test_a_module_that_cannot_be_imported_is_an_error(tmp_path):
    """The caller has another way."""
    server = ForkServer(["there_is_no_such_module"])
    with Lifeline() as lifeline, pytest.raises(ForkServerError):
        fork(server, tmp_path, lifeline)
    server.close()


def test_a_supervisor_does_without(tmp_path, caplog):
    """Where forking fails, children are programs; the log says so."""
    settings = load_settings({"data_dir": tmp_path, "edge.port": 0}, environ={}, cwd=tmp_path).settings
    child = worker_child(settings, plain(settings), "worker", queues=["publish"])
    broken = ForkServer(["there_is_no_such_module"])
    with Supervisor([child], None, broken) as supervisor:
        supervisor.wait_until_up()
        assert "wildcast_server.wiring.child" in psutil.Process(supervisor.pids["worker"]).cmdline()
    broken.close()
    assert "the worker is started as a program" in caplog.text


def test_it_ends_with_who_began_it():
    """However that ends."""
    script = (
        "import sys; from wildcast_server.wiring.fork_server import ForkServer\n"
        "server = ForkServer(['wildcast_server.wiring.child']); server.begin()\n"
        "while not server.is_ready(): pass\n"
        "print(server._process.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    until(lambda: not psutil.pid_exists(pid))
