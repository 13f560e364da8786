"""What a workflow starts and lets go of: it ends with the runner's process all the same."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from wildcast_server.jobs import Runner, RunRequest
from wildcast_server.jobs.family import MARK, kill_strays, members

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux tells of other processes")

DAEMON = """
import os, sys, time
from pathlib import Path

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        Path(sys.argv[1]).write_text(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
os.wait()
"""

WORKFLOW = f'''
import subprocess, sys, time
from wildcast_server import RunContext, workflow

@workflow
def lets_go(context: RunContext) -> None:
    """Start a daemon, whose parent is nobody any more, and wait."""
    subprocess.run([sys.executable, "-c", {DAEMON!r}, str(context.output_directory / "pid")], check=True)
    context.progress(is_there=True)
    time.sleep(60)
'''


@pytest.fixture
def daemon(tmp_path, eventually):
    """A runner whose workflow has let a daemon go; gives both, and the daemon's number."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "daemon.py").write_text(WORKFLOW)
    request = RunRequest(
        execution_id="exec_1_00000001", workflow="lets_go", parameters={}, output_directory=tmp_path / "out"
    )
    there = threading.Event()

    def run():
        with pytest.raises(Exception, match="cancelled"):
            runner.run(request, lambda _progress: there.set())

    with Runner([tmp_path / "workflows"]) as runner:
        thread = threading.Thread(target=run)
        thread.start()
        assert there.wait(60)
        pid = tmp_path / "out" / "pid"
        eventually(lambda: pid.exists() and pid.read_text())
        yield runner, int(pid.read_text())
        runner.cancel(0)
        thread.join(20)


def test_a_daemon_ends_when_its_run_is_cancelled(daemon, is_running):
    """Although it has left the group and the session, and has another parent."""
    runner, pid = daemon
    group = runner.pid
    assert is_running(pid)
    assert os.getpgid(pid) != group
    assert Path(f"/proc/{pid}") not in list(members(group))
    runner.cancel(0, "exec_1_00000001")
    assert not is_running(pid)


def test_only_what_carries_the_mark_is_killed(is_running):
    """Another runner's daemons, and whatever has no mark, are left alone."""
    code = "import time; time.sleep(60)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, env={**os.environ, **mark})
        for mark in ({MARK: "ours"}, {MARK: "another"}, {MARK: "oursandmore"}, {})
    ]
    try:
        group = os.getpgid(started[0].pid)
        kill_strays("ours", group)
        assert all(is_running(process.pid) for process in started)
        kill_strays("ours", 1)
        started[0].wait(10)
        assert [is_running(process.pid) for process in started] == [False, True, True, True]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_daemon_ends_when_the_worker_is_killed(tmp_path, eventually, is_running):
    """The guard in the runner's group looks for it before it ends the group."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "daemon.py").write_text(WORKFLOW)
    code = f"""
        from pathlib import Path
        from wildcast_server.jobs import Runner, RunRequest
        root = Path({str(tmp_path)!r})
        request = RunRequest(execution_id="e", workflow="lets_go", parameters={{}}, output_directory=root / "out")
        Runner([root / "workflows"]).run(request, lambda progress: None)
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    pid = tmp_path / "out" / "pid"
    eventually(lambda: pid.exists() and pid.read_text())
    worker.kill()
    worker.wait()
    eventually(lambda: not is_running(int(pid.read_text())))
