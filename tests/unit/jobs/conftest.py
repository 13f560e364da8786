"""A runner over a directory of misbehaving workflows."""

import threading
import time
from pathlib import Path

import pytest

from wildcast_server.jobs import Runner, RunRequest

WORKFLOWS = '''
import os, resource, signal, subprocess, sys, threading, time
from multiprocessing import get_context
from pathlib import Path

from pydantic import BaseModel

from wildcast_server import ExecutionCancelledError, RunContext, Workflow, workflow


class Warm(Workflow):
    """Counts how often it was constructed and run."""

    name = "warm"
    constructed = 0

    class Config(BaseModel):
        greeting: str = "none"

    def __init__(self, config):
        super().__init__(config)
        type(self).constructed += 1
        self.runs = 0

    def run(self, parameters, context):
        self.runs += 1
        context.progress(
            constructed=self.constructed, runs=self.runs, pid=os.getpid(), greeting=self.config.greeting,
            argv=sys.argv, environment=dict(os.environ),
        )


class Unbuildable(Workflow):
    name = "unbuildable"

    def __init__(self, config):
        raise OSError("the model file is not there")

    def run(self, parameters, context): ...


@workflow
def writes(context: RunContext, text: str = "x") -> None:
    (context.output_directory / "a").write_text(text)


@workflow
def copies(context: RunContext, source: Path) -> None:
    (context.output_directory / "copy").write_bytes(source.read_bytes())


@workflow
def raises() -> None:
    raise ValueError("bad \\x1b[31m weather \\0")


@workflow
def exits(code: int) -> None:
    sys.exit(code)


@workflow
def interrupts() -> None:
    raise KeyboardInterrupt


@workflow
def hard_exits(code: int) -> None:
    print("before the end")
    os._exit(code)


@workflow
def kills_itself() -> None:
    for number in range(30):
        print("line", number)
    os.kill(os.getpid(), signal.SIGKILL)


@workflow
def faults() -> None:
    import ctypes
    ctypes.string_at(0)


@workflow
def prints_junk(context: RunContext) -> None:
    os.write(1, bytes(range(256)) * 8_000)
    os.write(1, b"\\n{\\"type\\": \\"done\\"}\\n")
    print("text \\udcff")
    print("to the error stream", file=sys.stderr)
    context.progress(printed=True)


@workflow
def storms(context: RunContext, updates: int) -> None:
    for step in range(1, updates + 1):
        context.progress(step, updates)


@workflow
def reports_then_waits(context: RunContext) -> None:
    context.progress(1, 3)
    context.progress(2, 3)
    while not (context.output_directory / "go").exists():
        time.sleep(0.01)


@workflow
def reports_what_is_not_json(context: RunContext) -> None:
    try:
        context.progress(1, 2, loss=float("nan"))
    except ValueError as error:
        context.progress(1, 2, caught=str(error))


@workflow
def logs(context: RunContext) -> None:
    context.logger.warning("careful: %d", 3)
    context.logger.getChild("part").info("in part")
    try:
        1 / 0
    except ZeroDivisionError:
        context.logger.exception("oops")


@workflow
def cooperates(context: RunContext) -> None:
    context.progress(pid=os.getpid())
    while True:
        context.check_cancelled()
        time.sleep(0.01)


@workflow
def cancels_itself() -> None:
    raise ExecutionCancelledError("on its own account")


@workflow
def terminates_its_own(context: RunContext) -> None:
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    program = subprocess.Popen(["sleep", "300"])
    program.terminate()
    fork = get_context("fork").Process(target=time.sleep, args=(300,))
    fork.start()
    fork.terminate()
    fork.join()
    context.progress(program=program.wait(), fork=fork.exitcode)


@workflow
def finishes_although_cancelled(context: RunContext) -> None:
    context.progress(pid=os.getpid())
    while not context.cancelled:
        time.sleep(0.01)


@workflow
def is_stubborn(context: RunContext) -> None:
    grandchild = subprocess.Popen(["sleep", "300"])
    context.progress(pid=os.getpid(), grandchild=grandchild.pid)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@workflow
def leaves_a_grandchild(context: RunContext) -> None:
    context.progress(grandchild=subprocess.Popen(["sleep", "300"]).pid)


@workflow
def dies_and_leaves_a_grandchild(context: RunContext) -> None:
    grandchild = subprocess.Popen(["sleep", "300"])
    (context.output_directory / "pid").write_text(str(grandchild.pid))
    os._exit(1)


def _report_from_a_fork(context):
    try:
        context.progress(1, 2)
    except RuntimeError as error:
        (context.output_directory / "fork").write_text(str(error))


@workflow
def forks(context: RunContext) -> None:
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    child = get_context("fork").Process(target=_report_from_a_fork, args=(context,))
    child.start()
    child.join()
    context.progress(fork=(context.output_directory / "fork").read_text())


@workflow
def waits_for_all_children(context: RunContext) -> None:
    try:
        os.wait()
    except ChildProcessError:
        context.progress(children=0)


@workflow
def fills_the_disk(context: RunContext) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        (context.output_directory / "a").write_bytes(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@workflow
def allocates(mebibytes: int) -> None:
    block = bytearray(mebibytes * 2**20)
    block[::4096] = b"x" * len(block[::4096])


@workflow
def leaves_a_thread(context: RunContext) -> None:
    def chatter():
        for number in range(200):
            time.sleep(0.005)
            context.progress(stale=number)
            context.logger.debug("stale %d", number)
    threading.Thread(target=chatter, daemon=True).start()


@workflow
def takes_big_numbers(context: RunContext, n: int) -> None:
    context.progress(n=n * 2)
'''

TIMEOUT = 20.0


def wait_until(condition):
    """Wait until `condition()` is true; fail after `TIMEOUT` seconds."""
    deadline = time.monotonic() + TIMEOUT
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


def process_exists(pid):
    """Whether there is such a process that is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


class Running:
    """A run in a thread; its first progress tells that it is going on."""

    def __init__(self, runner: Runner, request: RunRequest) -> None:
        self.progress = {}
        self.error = None
        self._request = request
        self._runner = runner
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_until(lambda: self.progress or self.error)

    def _run(self) -> None:
        try:
            self._runner.run(self._request, self.progress.update)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def join(self) -> Exception | None:
        """Wait for its end; return what it raised."""
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()
        return self.error


@pytest.fixture
def eventually():
    """Give `wait_until` to a test."""
    return wait_until


@pytest.fixture
def is_running():
    """Give `process_exists` to a test."""
    return process_exists


@pytest.fixture
def workflow_directory(tmp_path):
    """Make the directory of workflows, one file of which is broken."""
    directory = tmp_path / "workflows"
    directory.mkdir()
    (directory / "misbehaving.py").write_text(WORKFLOWS)
    (directory / "broken.py").write_text("import not_installed_anywhere")
    return directory


@pytest.fixture
def runner(workflow_directory):
    """Make a runner that is closed at the end."""
    with Runner([workflow_directory], {"warm": {"greeting": "canary"}}) as made:
        yield made


@pytest.fixture
def request_of(tmp_path):
    """Make requests, each with an output directory of its own."""
    count = iter(range(1_000))

    def make(workflow: str, **parameters: object) -> RunRequest:
        number = next(count)
        return RunRequest(
            execution_id=f"exec_1_{number:08x}",
            workflow=workflow,
            parameters=parameters,
            output_directory=tmp_path / "outputs" / str(number),
        )

    return make


@pytest.fixture
def run(runner, request_of):
    """Run a workflow and return its report and all its progress."""

    def call(workflow: str, **parameters: object):
        progress = []
        report = runner.run(request_of(workflow, **parameters), progress.append)
        return report, progress

    return call


@pytest.fixture
def start(runner):
    """Start a run in a thread; it is going on when this returns."""
    return lambda request: Running(runner, request)
