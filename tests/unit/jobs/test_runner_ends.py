"""Cancelling, closing, and the death of the worker itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wildcast_server.errors import ExecutionCancelledError, RunnerDiedError, WorkflowFailedError
from wildcast_server.jobs import protocol

TIMEOUT = 20.0


def test_a_cooperative_workflow_stops_and_its_process_stays(runner, request_of, start):
    """A workflow that looks is cancelled at once, and the child stays warm."""
    running = start(request_of("cooperates"))
    began = time.monotonic()
    assert runner.cancel(TIMEOUT)
    assert time.monotonic() - began < TIMEOUT / 2
    assert isinstance(running.join(), ExecutionCancelledError)
    assert runner.pid == running.progress["pid"]


def test_a_stubborn_workflow_is_killed_with_what_it_started(runner, request_of, eventually, is_running, start):
    """After the grace, child and grandchild are gone; the next run has a new child."""
    running = start(request_of("is_stubborn"))
    assert runner.cancel(0.1)
    assert isinstance(running.join(), ExecutionCancelledError)
    eventually(lambda: not is_running(running.progress["pid"]) and not is_running(running.progress["grandchild"]))
    runner.run(request_of("writes"), lambda _: None)


def test_a_child_that_reads_nothing_is_killed_all_the_same(runner, request_of, start):
    """Telling it so would wait for ever, where it has not read what it was told before."""
    running = start(request_of("is_stubborn"))
    os.kill(running.progress["pid"], signal.SIGSTOP)
    told = protocol.Progress(progress={"much": "x" * (8 << 20)})
    blocked = threading.Thread(target=runner._process.channel.send, args=(told,))
    blocked.start()
    assert runner.cancel(0.1)
    assert isinstance(running.join(), ExecutionCancelledError)
    blocked.join(TIMEOUT)
    assert not blocked.is_alive()


def test_a_cancelled_run_ends_as_cancelled_even_if_it_finishes(runner, request_of, start):
    """Who was told that it is cancelled does not find it completed."""
    running = start(request_of("finishes_although_cancelled"))
    runner.cancel(TIMEOUT)
    assert isinstance(running.join(), ExecutionCancelledError)


def test_only_the_named_execution_is_cancelled(runner, request_of, start):
    """A cancellation that comes too late does not hit the execution that runs now."""
    request = request_of("cooperates")
    running = start(request)
    assert not runner.cancel(0, "exec_1_99999999")
    assert running.error is None
    assert runner.cancel(TIMEOUT, request.execution_id)
    running.join()


def test_cancelling_nothing_does_nothing(runner, request_of):
    """Without a run there is nothing to cancel, now or later."""
    assert not runner.cancel(0)
    runner.run(request_of("writes"), lambda _: None)
    assert not runner.cancel(0)
    runner.run(request_of("writes"), lambda _: None)


def test_closing_ends_the_child_and_what_it_left(runner, request_of, eventually, is_running):
    """A grandchild that a workflow left behind goes with the child."""
    progress = {}
    runner.run(request_of("leaves_a_grandchild"), progress.update)
    pid = runner.pid
    assert is_running(progress["grandchild"])
    runner.close()
    eventually(lambda: not is_running(pid) and not is_running(progress["grandchild"]))


def test_a_death_takes_the_rest_of_the_group_along(runner, request_of, eventually, is_running):
    """What a workflow left running ends when its process does, and the group is empty: no guard stays either."""
    runner.run(request_of("writes"), lambda _: None)
    group = runner.pid
    request = request_of("dies_and_leaves_a_grandchild")
    with pytest.raises(RunnerDiedError, match="exit code 1"):
        runner.run(request, lambda _: None)
    pid = int((request.output_directory / "pid").read_text())
    eventually(lambda: not is_running(pid) and not any(map(is_running, group_members(group))))


def test_closing_cancels_what_runs(runner, request_of, start, is_running):
    """A run that is going on ends as cancelled, and not as failed: the worker stops, the workflow is not at fault."""
    running = start(request_of("cooperates"))
    runner.close(TIMEOUT)
    assert isinstance(running.join(), ExecutionCancelledError)
    assert not is_running(running.progress["pid"])


def test_closing_kills_what_does_not_stop(runner, request_of, start, is_running):
    """After the grace the workflow is killed; that too is a cancellation."""
    running = start(request_of("is_stubborn"))
    runner.close(0.1)
    assert isinstance(running.join(), ExecutionCancelledError)
    assert not is_running(running.progress["pid"])


def test_a_closed_runner_starts_nothing(runner, request_of):
    """Closing twice is fine; what would begin afterwards is cancelled, so that its execution can wait."""
    runner.close()
    runner.close()
    with pytest.raises(ExecutionCancelledError, match="stopping"):
        runner.run(request_of("writes"), lambda _: None)
    assert runner.pid is None


def test_a_workflow_that_calls_itself_cancelled_has_failed(runner, request_of):
    """Nobody told it to stop, so nobody would take it up again."""
    with pytest.raises(WorkflowFailedError, match="ExecutionCancelledError: on its own account"):
        runner.run(request_of("cancels_itself"), lambda _: None)
    assert runner.pid is not None


def test_sigterm_is_the_workers_to_take(runner, request_of, start):
    """A service manager that signals the whole control group does not kill what the worker will interrupt."""
    running = start(request_of("cooperates"))
    os.kill(runner.pid, signal.SIGTERM)
    time.sleep(0.2)
    assert running.error is None
    assert runner.cancel(TIMEOUT)
    assert isinstance(running.join(), ExecutionCancelledError)


def test_what_a_workflow_starts_can_be_terminated(run):
    """Programs and forks of a workflow end by SIGTERM as they would anywhere."""
    _, [progress] = run("terminates_its_own")
    assert progress == {"program": -signal.SIGTERM, "fork": -signal.SIGTERM}


def test_an_idle_child_that_dies_is_replaced(runner, request_of, eventually):
    """A child killed between two runs costs nothing but its models."""
    runner.run(request_of("writes"), lambda _: None)
    pid = runner.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: runner.pid is None)
    runner.run(request_of("writes"), lambda _: None)
    assert runner.pid not in (None, pid)


WORKER = """
import sys
from pathlib import Path
from wildcast_server.jobs import Runner, RunRequest
request = RunRequest(
    execution_id="exec_1_00000000", workflow=sys.argv[3], parameters={}, output_directory=Path(sys.argv[2])
)
Runner([Path(sys.argv[1])]).run(request, lambda progress: print(progress["pid"], progress["grandchild"], flush=True))
"""


def test_nothing_outlives_a_worker_that_is_killed(workflow_directory, tmp_path, eventually, is_running):
    """A kill -9 of the worker takes the child, its grandchildren and the guard along, however busy the child is."""
    command = [sys.executable, "-c", WORKER, str(workflow_directory), str(tmp_path / "out"), "is_stubborn"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        child, grandchild = map(int, worker.stdout.readline().split())
        members = group_members(child)
        assert {child, grandchild} < set(members)
        worker.kill()
    eventually(lambda: not any(is_running(pid) for pid in members))


def test_a_child_that_holds_the_interpreter_dies_too(tmp_path, eventually, is_running):
    """A workflow stuck in C code that never gives up the interpreter's lock cannot outlive the worker either."""
    directory = tmp_path / "workflows"
    directory.mkdir()
    text = (
        "import ctypes, os, time\nfrom wildcast_server import RunContext, workflow\n@workflow\n"
        "def sticks(context: RunContext) -> None:\n"
        "    context.progress(pid=os.getpid(), grandchild=0)\n    time.sleep(0.5)\n"
        "    (context.output_directory / 'sticking').touch()\n    ctypes.PyDLL(None).sleep(300)\n"
    )
    (directory / "sticks.py").write_text(text)
    command = [sys.executable, "-c", WORKER, str(directory), str(tmp_path / "out"), "sticks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        child = int(worker.stdout.readline().split()[0])
        eventually((tmp_path / "out" / "sticking").exists)
        worker.kill()
    eventually(lambda: not is_running(child))


def group_members(group):
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group:
            found.append(int(directory.name))
    return found
