"""Where a run's streamed output goes: decided by the worker, made in the runner's process."""

import dataclasses

import pytest

from wildcast_server.errors import ExecutionCancelledError, WorkflowFailedError
from wildcast_server.jobs import Runner, SinkSpec, protocol

WORKFLOWS = '''
import time
from pathlib import Path

from wildcast_server import RunContext, workflow
from wildcast_server.domain.sink import DirectorySink
from wildcast_server.errors import SettingsError


class Noting(DirectorySink):
    """Writes into another directory, and notes how the run ended."""

    def __init__(self, elsewhere):
        super().__init__(Path(elsewhere))
        self.notes = Path(elsewhere) / "notes"

    def finish(self):
        super().finish()
        self.notes.write_text("finished")

    def abort(self):
        super().abort()
        self.notes.write_text("aborted")


def make(directory, *, elsewhere, secret):
    Path(elsewhere).mkdir()
    return Noting(elsewhere)


def refuse(directory, *, elsewhere, secret):
    raise SettingsError("the store is not there")


def break_down(directory, *, elsewhere, secret):
    raise KeyError(secret)


def make_nothing(directory, *, elsewhere, secret):
    return secret


@workflow
def streams(context: RunContext) -> None:
    with context.open("a.txt") as file:
        file.write(b"streamed")


@workflow
def streams_nothing() -> None: ...


@workflow
def forgets(context: RunContext) -> None:
    context.open("forgotten.nc").write(b"x")


@workflow
def fails(context: RunContext) -> None:
    context.open("a.txt").write(b"x")
    raise ValueError("no weather today")


@workflow
def waits(context: RunContext) -> None:
    context.open("a.txt").write(b"x")
    context.progress(1, 2)
    while True:
        context.check_cancelled()
        time.sleep(0.01)
'''


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Make a runner whose process can import the factories."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "streaming_workflows.py").write_text(WORKFLOWS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "workflows"))
    with Runner([tmp_path / "workflows"]) as made:
        yield made


@pytest.fixture
def streaming(request_of, tmp_path):
    """Make a request whose streamed output goes to the directory `elsewhere`."""

    def make(workflow: str, factory: str = "make"):
        arguments = {"elsewhere": str(tmp_path / "elsewhere"), "secret": "canary"}
        spec = SinkSpec(factory=f"streaming_workflows:{factory}", arguments=arguments)
        return dataclasses.replace(request_of(workflow), sink=spec)

    return make


def test_output_goes_where_the_worker_says(runner, streaming, tmp_path):
    """The factory is resolved in the child, for that run."""
    request = streaming("streams")
    runner.run(request, lambda _progress: None)
    assert (tmp_path / "elsewhere" / "a.txt").read_text() == "streamed"
    assert (tmp_path / "elsewhere" / "notes").read_text() == "finished"
    assert list(request.output_directory.iterdir()) == []


def test_without_a_sink_it_goes_to_the_output_directory(runner, request_of):
    """As where the service itself serves the results."""
    request = request_of("streams")
    runner.run(request, lambda _progress: None)
    assert (request.output_directory / "a.txt").read_text() == "streamed"


def test_nothing_is_made_for_who_streams_nothing(runner, streaming, tmp_path):
    """A factory that could only fail harms no workflow that does not need it."""
    runner.run(streaming("streams_nothing", "refuse"), lambda _progress: None)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("with_sink", [True, False])
def test_a_forgotten_file_fails_the_run_by_name(runner, streaming, request_of, tmp_path, with_sink):
    """What was never closed is no file, wherever it would have gone."""
    request = streaming("forgets") if with_sink else request_of("forgets")
    with pytest.raises(WorkflowFailedError, match=r"forgotten\.nc was opened with context\.open and never closed"):
        runner.run(request, lambda _progress: None)
    if with_sink:
        assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["notes"]
    assert list(request.output_directory.iterdir()) == []


def test_a_failed_run_aborts(runner, streaming, tmp_path):
    """The reason is the workflow's own, and nothing half written stays."""
    with pytest.raises(WorkflowFailedError, match="ValueError: no weather today"):
        runner.run(streaming("fails"), lambda _progress: None)
    assert (tmp_path / "elsewhere" / "notes").read_text() == "aborted"
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["notes"]


def test_a_cancelled_run_aborts(runner, streaming, tmp_path, start):
    """A workflow that stops when it is told to leaves nothing."""
    running = start(streaming("waits"))
    runner.cancel(20)
    assert isinstance(running.join(), ExecutionCancelledError)
    assert (tmp_path / "elsewhere" / "notes").read_text() == "aborted"


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("refuse", "the store is not there"),
        ("break_down", "streaming_workflows:break_down raised KeyError"),
        ("missing", "streaming_workflows:missing raised AttributeError"),
        ("make_nothing", "streaming_workflows:make_nothing made a str, which is no OutputSink"),
    ],
)
def test_a_factory_that_fails_fails_the_run(runner, streaming, factory, reason):
    """One sentence says why, and no argument shows in it or in the traceback."""
    with pytest.raises(WorkflowFailedError) as caught:
        runner.run(streaming("streams", factory), lambda _progress: None)
    assert str(caught.value).endswith(f"what the workflow streams cannot be stored: {reason}")
    assert "canary" not in str(caught.value) + caught.value.traceback


def test_arguments_show_in_no_repr(streaming):
    """They hold the store's credentials."""
    request = streaming("streams")
    message = protocol.Run(
        run=1, execution_id="e", workflow="w", parameters={}, output_directory="/o", sink=request.sink
    )
    for shown in (
        repr(request),
        repr(message),
        str(request.sink),
        f"{request.sink!s}",
        repr(request.sink.__rich_repr__()),
    ):
        assert "canary" not in shown
        assert "streaming_workflows:make" in shown
