"""What the runner tells of a run, however it ends."""

import hashlib
import platform
import socket

import pytest

from wildcast._version import __version__
from wildcast_server.errors import ExecutionCancelledError, RunnerDiedError, WorkflowFailedError, WorkflowLoadError
from wildcast_server.jobs import Runner

FAKE_TORCH = """
import sys
from types import SimpleNamespace
from wildcast_server import workflow
cuda = SimpleNamespace(
    is_initialized=lambda: {initialised}, current_device=lambda: 1, get_device_name=lambda index: f"card {{index}}"
)
sys.modules["torch"] = SimpleNamespace(cuda=cuda)
@workflow
def computes() -> None: ...
"""


@pytest.fixture
def ran(tmp_path, request_of):
    """Run a one-file workflow called `computes`; return what is told of it."""

    def run(text: str):
        directory = tmp_path / "flows"
        directory.mkdir()
        (directory / "flow.py").write_text(text)
        with Runner([directory]) as runner:
            return runner.run(request_of("computes"), lambda _: None)

    return run


def hash_of(directory) -> str:
    return hashlib.sha256((directory / "misbehaving.py").read_bytes()).hexdigest()


def test_a_run_says_where_and_with_what_it_ran(run, workflow_directory):
    """Host, versions, platform, the file's hash, device, memory and time are known; the rest is not the runner's."""
    ran, _ = run("writes")
    assert (ran.host, ran.wildcast, ran.python) == (socket.gethostname(), __version__, platform.python_version())
    assert ran.platform == platform.platform()
    assert ran.workflow_sha256 == hash_of(workflow_directory)
    assert ran.device == "cpu"
    assert ran.peak_memory_bytes > 2**20
    assert 0 <= ran.compute_seconds < 20
    assert (ran.queued_seconds, ran.publish_seconds) == (None, None)


def test_the_hash_is_that_of_what_was_loaded(run, workflow_directory):
    """A file that is edited afterwards did not run."""
    before = hash_of(workflow_directory)
    run("writes")
    with (workflow_directory / "misbehaving.py").open("a") as file:
        file.write("# edited\n")
    ran, _ = run("writes")
    assert ran.workflow_sha256 == before != hash_of(workflow_directory)


def test_what_raised_is_described_too(run, workflow_directory):
    """An exception has a hash, a device and timings."""
    with pytest.raises(WorkflowFailedError) as caught:
        run("raises")
    ran = caught.value.provenance
    assert (ran.workflow_sha256, ran.device) == (hash_of(workflow_directory), "cpu")
    assert ran.compute_seconds >= 0


def test_of_a_death_is_told_what_is_known(run, workflow_directory):
    """A process that is gone cannot say what it took; which file it ran is known before."""
    with pytest.raises(RunnerDiedError) as caught:
        run("hard_exits", code=1)
    ran = caught.value.provenance
    assert (ran.host, ran.workflow_sha256) == (socket.gethostname(), hash_of(workflow_directory))
    assert (ran.device, ran.peak_memory_bytes, ran.compute_seconds) == (None, None, None)


def test_of_what_was_never_loaded_the_host_is_known(run):
    """No file ran, so there is no hash."""
    with pytest.raises(WorkflowLoadError) as caught:
        run("unbuildable")
    assert (caught.value.provenance.host, caught.value.provenance.workflow_sha256) == (socket.gethostname(), None)


def test_a_cancelled_run_is_described(start, runner, request_of):
    """What was computed until then counts."""
    running = start(request_of("cooperates"))
    runner.cancel(20)
    error = running.join()
    assert isinstance(error, ExecutionCancelledError)
    assert error.provenance.compute_seconds > 0


def test_a_workflow_may_say_what_it_computes_on(ran):
    """What the workflow sets goes before what the process shows."""
    text = "def computes(context: RunContext) -> None:\n    context.device = 'a quantum computer'\n"
    assert ran(f"from wildcast_server import RunContext, workflow\n@workflow\n{text}").device == "a quantum computer"


@pytest.mark.parametrize(("initialised", "device"), [(True, "cuda:1 (card 1)"), (False, "cpu")])
def test_pytorchs_device_counts_once_it_is_used(ran, initialised, device):
    """A library that is loaded and has not touched the card says nothing about the run."""
    assert ran(FAKE_TORCH.format(initialised=initialised)).device == device


@pytest.mark.parametrize(
    ("used", "kind", "device"),
    [(True, "gpu", "gpu:0 (a card)"), (True, "cpu", "cpu"), (False, "gpu", "cpu")],
)
def test_jaxs_device_counts_once_it_is_used(ran, used, kind, device):
    """JAX is asked for its devices only where that initialises nothing."""
    text = f"""
import sys
from types import SimpleNamespace
from wildcast_server import workflow
device = SimpleNamespace(platform={kind!r}, id=0, device_kind="a card")
sys.modules["jax"] = SimpleNamespace(devices=lambda: [device])
sys.modules["jax._src.xla_bridge"] = SimpleNamespace(backends_are_initialized=lambda: {used})
@workflow
def computes() -> None: ...
"""
    assert ran(text).device == device


def test_a_library_that_cannot_answer_costs_no_result(ran):
    """What stands in for PyTorch may have no `cuda` at all."""
    text = "import sys\nfrom wildcast_server import workflow\nsys.modules['torch'] = object()\n"
    assert ran(f"{text}@workflow\ndef computes() -> None: ...").device == "cpu"
