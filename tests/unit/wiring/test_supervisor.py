"""Keeping children running: started, told to end, started again, and gone with their parent."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from wildcast_server.errors import WildcastServerError
from wildcast_server.settings import load_settings
from wildcast_server.wiring.hand_over import HandOver, plain, settings_of
from wildcast_server.wiring.lifeline import Lifeline, watch
from wildcast_server.wiring.serving import bind, url_of
from wildcast_server.wiring.stopping import StopRequestedError
from wildcast_server.wiring.supervisor import Child, Supervisor

UP = """
import os, signal, sys, time
from wildcast_server.wiring.hand_over import Told, receive, tell
from wildcast_server.wiring.lifeline import watch
handed = receive(int(sys.argv[1]))
watch(handed.lifeline, lambda: os._exit(1))
"""

SAY_UP = "tell(handed, Told())\n"

WAITS = UP + SAY_UP + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True: time.sleep(60)\n"

SERVES = (
    UP
    + """
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=handed.sockets["api"])
tell(handed, Told())
server.serve_forever()
"""
)


def child(text: str, name: str = "dummy", **more) -> Child:
    return Child(name, (sys.executable, "-c", text), **more)


@contextmanager
def supervised(*children: Child, stop: threading.Event | None = None) -> Iterator[Supervisor]:
    """Give a supervisor whose children are up."""
    with Supervisor(children, stop) as supervisor:
        supervisor.wait_until_up()
        yield supervisor


def eventually(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def held():
    """Threads and files that this process has open."""
    return set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))


def test_children_run_while_it_does():
    """All are up when it is, and gone when it has ended; it keeps nothing open."""
    before = held()
    with supervised(child(WAITS, "one"), child(WAITS, "two")) as supervisor:
        pids = supervisor.pids
        assert pids.keys() == {"one", "two"}
        assert all(map(is_running, pids.values()))
    assert not any(map(is_running, pids.values()))
    assert held() == before


def test_a_child_that_is_killed_is_started_again(caplog):
    """Another process stands in for it within a moment, and the log says how the first ended."""
    with supervised(child(WAITS, "one"), child(WAITS, "two")) as supervisor:
        before = supervisor.pids
        os.kill(before["one"], signal.SIGKILL)
        eventually(lambda: supervisor.pids["one"] != before["one"])
        assert is_running(supervisor.pids["one"])
        assert supervisor.pids["two"] == before["two"]
    assert "the one was killed by SIGKILL and is started again" in caplog.messages


def test_no_connection_is_refused_while_a_server_is_started_again():
    """What connects in between is answered by the next process."""
    with bind("127.0.0.1", 0, "api") as bound:
        url = url_of(bound)
        with supervised(child(SERVES, sockets={"api": bound})) as supervisor:
            first = supervisor.pids["dummy"]
            assert httpx.get(url).text == str(first)
            os.kill(first, signal.SIGKILL)
            eventually(lambda: not is_running(first))
            assert httpx.get(url, timeout=20).text == str(supervisor.pids["dummy"]) != str(first)
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_a_child_that_dies_again_and_again_is_waited_for_longer(tmp_path, caplog):
    """It is not started again at once for ever."""
    text = UP + SAY_UP + f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
    with supervised(child(text)):
        eventually(lambda: len(caplog.messages) >= 3)
        seen = [record.created for record in caplog.records]
    assert seen[1] - seen[0] >= 0.1
    assert seen[2] - seen[1] >= 0.5
    assert len((tmp_path / "starts").read_text()) >= 3


def test_a_child_that_says_why_it_cannot_be_ends_the_start():
    """Its sentence is the error, and the others are gone."""
    before = held()
    refuses = UP + "tell(handed, Told(error='api.port is taken'))\nsys.exit(1)\n"
    supervisor = Supervisor([child(WAITS, "one"), child(refuses, "two")])
    with supervisor, pytest.raises(WildcastServerError, match=r"^api\.port is taken$"):
        supervisor.wait_until_up()
    assert not any(map(is_running, supervisor.pids.values()))
    assert held() == before


def test_a_child_that_dies_before_it_is_up_ends_the_start():
    """How it ended is said."""
    with pytest.raises(WildcastServerError, match="the dummy ended with exit code 3 before it was up"):
        supervised(child("raise SystemExit(3)")).__enter__()


def test_a_child_that_is_killed_before_it_is_up_is_begun_again(tmp_path, caplog):
    """Whoever kills it may mean another; but one that dies so each time ends the start."""
    path = str(tmp_path / "starts")
    dies = f"open({path!r}, 'a').write('x')\nif os.path.getsize({path!r}) < 3: os.kill(os.getpid(), signal.SIGKILL)\n"
    with supervised(child(UP + dies + WAITS.removeprefix(UP))):
        assert (tmp_path / "starts").read_text() == "xxx"
    assert caplog.text.count("was killed by SIGKILL before it was up, and is started again") == 2
    with (
        Supervisor([child(UP + "os.kill(os.getpid(), signal.SIGKILL)\n")]) as supervisor,
        pytest.raises(WildcastServerError, match="the dummy was killed by SIGKILL before it was up"),
    ):
        supervisor.wait_until_up()


def test_a_reason_that_comes_later_is_logged(tmp_path, caplog):
    """A child that is started again and refuses then, as after a change of the database, says so in the log."""
    text = (
        UP
        + f"""
from pathlib import Path
if Path({str(tmp_path / "refuse")!r}).exists():
    tell(handed, Told(error="migrate the database first"))
    sys.exit(1)
"""
        + SAY_UP
        + "time.sleep(60)"
    )
    with supervised(child(text, stop_seconds=1)) as supervisor:
        (tmp_path / "refuse").touch()
        os.kill(supervisor.pids["dummy"], signal.SIGKILL)
        eventually(lambda: "started again: migrate the database first" in caplog.text)


def test_a_start_is_given_up_when_it_is_told_to():
    """A child that never comes up does not keep the service from heeding a stop."""
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(StopRequestedError):
        supervised(child(UP + "time.sleep(60)", stop_seconds=5), stop=stop).__enter__()


def test_a_child_that_does_not_end_is_killed(caplog):
    """After its time; the log says so."""
    ignores = UP + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SAY_UP + "while True: time.sleep(60)\n"
    with supervised(child(ignores, stop_seconds=0.3)) as supervisor:
        pid = supervisor.pids["dummy"]
    assert not is_running(pid)
    assert "the dummy did not end within 0.3 seconds: killed" in caplog.messages


PARENT = """
import sys, time
from wildcast_server.wiring.supervisor import Child, Supervisor
with Supervisor([Child("dummy", (sys.executable, "-c", sys.argv[1]))]) as supervisor:
    supervisor.wait_until_up()
    print(supervisor.pids["dummy"], flush=True)
    time.sleep(60)
"""


def test_children_end_with_a_supervisor_that_is_killed():
    """SIGKILL of it leaves nothing."""
    command = [sys.executable, "-c", PARENT, WAITS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    eventually(lambda: not is_running(pid), seconds=5)


def test_a_lifeline_ends_when_it_is_closed():
    """And not before."""
    ended = threading.Event()
    lifeline = Lifeline()
    watched = os.dup(lifeline.descriptor)
    watch(watched, ended.set)
    assert not ended.wait(0.1)
    lifeline.close()
    assert ended.wait(5)
    os.close(watched)


def test_settings_arrive_as_they_were(tmp_path):
    """Secrets, paths and nested values of workflows included."""
    values = {
        "data_dir": tmp_path / "data",
        "database.url": "postgresql://user:canary@host/name",
        "object_storage.enabled": True,
        "object_storage.bucket": "some-bucket",
        "object_storage.access_key_id": "canary-id",
        "object_storage.secret_access_key": "canary-secret",
        "workflows.directories": [tmp_path],
        "workflows.config": {"model": {"steps": [1, {"a": None}]}},
    }
    settings = load_settings(values, environ={}, cwd=tmp_path).settings
    handed = HandOver(settings=plain(settings), arguments={}, sockets={}, lifeline=0, told=0)
    assert settings_of(handed) == settings


def test_a_hand_over_shows_no_secret():
    """Neither it nor a child's description repeats the settings."""
    handed = HandOver(settings={"a": "canary"}, arguments={"slot": 1}, sockets={}, lifeline=0, told=0)
    assert "canary" not in f"{handed!r} {Child('a', (), settings={'a': 'canary'})!r}"
    assert "slot" in repr(handed)


def test_the_settings_are_in_no_argument_and_no_variable(tmp_path):
    """Other users of the machine read those."""
    seen = tmp_path / "seen"
    text = (
        UP
        + SAY_UP
        + textwrap.dedent(f"""
        from pathlib import Path
        assert handed.settings == {{"secret": "can" + "ary"}}
        public = [Path("/proc/self", name).read_bytes() for name in ("cmdline", "environ")]
        Path({str(seen)!r}).write_bytes(b"".join(public))
        time.sleep(60)
        """)
    )
    with supervised(child(text, settings={"secret": "canary"}, stop_seconds=1)):
        eventually(lambda: seen.exists() and seen.stat().st_size)
    assert b"canary" not in seen.read_bytes()


@pytest.fixture(autouse=True)
def _messages(caplog):
    caplog.set_level(logging.INFO)
