"""Files in Earth2Studio's manner, run by the real runner in its own process."""

import threading
from textwrap import dedent

import pytest
import xarray as xr

from wildcast_server.errors import ExecutionCancelledError, WorkflowFailedError, WorkflowLoadError
from wildcast_server.jobs import Runner, RunRequest

FILES = {
    "forecast.py": """
        from datetime import datetime
        import os

        import numpy as np
        from earth2studio.serve.server import Earth2Workflow, WorkflowProgress, WorkflowRegistry

        @WorkflowRegistry.instance().register
        class Forecast(Earth2Workflow):
            name = "forecast"
            constructed = 0

            def __init__(self, rate: float = 1.0):
                super().__init__()
                Forecast.constructed += 1
                self.rate = rate

            def __call__(self, io, start_time: list[datetime] = [datetime(2024, 1, 1)], num_steps: int = 3):
                from earth2studio.serve.server.workflow import WorkflowProgress as same
                assert same is WorkflowProgress
                leads = np.arange(num_steps + 1) * np.timedelta64(6, "h")
                coords = {"time": np.array(start_time, "datetime64[ns]"), "lead_time": leads}
                io.add_array(coords, "t2m")
                for step in range(num_steps + 1):
                    field = np.full((len(start_time), 1), step * self.rate)
                    io.write(field, coords | {"lead_time": leads[step : step + 1]}, "t2m")
                report = {"metadata": {"constructed": self.constructed, "pid": os.getpid()}}
                self.update_execution_data(self.execution_id, report)
    """,
    "plain.py": """
        import time
        from api_server.workflow.workflow import Workflow, WorkflowParameters, WorkflowProgress, workflow_registry

        class PlainParameters(WorkflowParameters):
            text: str = "x"

        @workflow_registry.register
        class Plain(Workflow):
            name = "plain"
            Parameters = PlainParameters

            @classmethod
            def validate_parameters(cls, parameters):
                return PlainParameters.validate(parameters)

            def run(self, parameters, execution_id):
                parameters = self.validate_parameters(parameters)
                try:
                    (self.get_output_path(execution_id) / "text").write_text(parameters.text)
                    if parameters.text == "bad":
                        raise ValueError("bad text")
                    while parameters.text == "for ever":
                        self.update_execution_data(execution_id, WorkflowProgress(progress="going on"))
                        time.sleep(0.01)
                except ValueError as error:
                    failed = WorkflowProgress(progress="Failed!", error_message=str(error))
                    self.update_execution_data(execution_id, failed)
                    raise
                return {"status": "success"}
    """,
    "unbuildable.py": """
        from earth2studio.serve.server import Earth2Workflow, WorkflowRegistry

        @WorkflowRegistry.instance().register
        class Unbuildable(Earth2Workflow):
            def __init__(self):
                raise OSError("the model cannot be downloaded")

            def __call__(self, io): ...
    """,
    "broken.py": """
        from earth2studio.serve.server import Earth2Workflow
        from earth2studio.models.px import FCN
    """,
}


@pytest.fixture
def runner(directory):
    """Make a runner over the files."""
    for name, source in FILES.items():
        (directory / name).write_text(dedent(source))
    with Runner([directory], {"forecast": {"rate": 2.5}}) as made:
        yield made


@pytest.fixture
def run(runner, tmp_path):
    """Run a workflow; return its output directory and its progress."""
    count = iter(range(1_000))

    def call(workflow: str, on_progress=lambda _: None, **parameters: object):
        number = next(count)
        request = RunRequest(
            execution_id=f"exec_1_{number:08x}",
            workflow=workflow,
            parameters=parameters,
            output_directory=tmp_path / "outputs" / str(number),
        )
        seen: list[dict] = []
        runner.run(request, lambda progress: (seen.append(progress), on_progress(progress)))
        return request.output_directory, seen

    return call


def test_a_forecast_runs_and_stays_warm(run, runner):
    """An Earth2Workflow writes its store, reports its steps, and is constructed once, with its configuration."""
    output, progress = run("forecast", num_steps=2)
    _, again = run("forecast")
    with xr.open_zarr(output / "results.zarr", consolidated=False) as ds:
        assert ds["t2m"].values.tolist() == [[0, 2.5, 5]]
    assert (progress[-1]["current_step"], progress[-1]["total_steps"]) == (3, 3)
    assert progress[-1]["metadata"] == again[-1]["metadata"] == {"constructed": 1, "pid": runner.pid}


def test_a_plain_workflow_runs(run):
    """A Workflow with models of its own writes below its output path."""
    output, _ = run("plain", text="hello")
    assert (output / "text").read_text() == "hello"


def test_a_failure_is_the_workflows_and_harms_nothing(run, runner):
    """What `run` raises is the reason, its last words stay in the progress, and the process lives on."""
    seen: list[dict] = []
    with pytest.raises(WorkflowFailedError, match="ValueError: bad text") as caught:
        run("plain", seen.append, text="bad")
    assert "plain.py" in caught.value.traceback
    assert seen[-1] == {"progress": "Failed!", "error_message": "bad text"}
    pid = runner.pid
    run("plain")
    assert runner.pid == pid


def test_a_constructor_that_fails_names_its_file(run):
    """A model that cannot be loaded is told with file and reason; other workflows run."""
    with pytest.raises(WorkflowLoadError, match=r"unbuildable\.py.*OSError: the model cannot be downloaded"):
        run("Unbuildable")
    run("plain")


def test_an_import_that_fails_names_its_file(run):
    """What a file lacks is told where its workflow is asked for."""
    with pytest.raises(WorkflowLoadError, match=r"broken\.py cannot be imported: .*'earth2studio' is not installed"):
        run("unknown")


def test_a_cancelled_workflow_ends_at_its_next_report(run, runner):
    """A workflow that reports needs not be killed to be stopped: its process stays."""
    going_on, ended = threading.Event(), []

    def follow() -> None:
        with pytest.raises(ExecutionCancelledError):
            run("plain", lambda _: going_on.set(), text="for ever")
        ended.append(True)

    thread = threading.Thread(target=follow)
    thread.start()
    assert going_on.wait(60)
    pid = runner.pid
    assert runner.cancel(grace=60)
    thread.join(60)
    assert ended == [True]
    assert runner.pid == pid
