"""The whole stack on loopback, in an environment that has Earth2Studio."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from wildcast_server.settings import load_settings
from wildcast_server.wiring.stack import Stack

PLAIN = """
    from datetime import datetime

    import numpy as np
    from earth2studio.serve.server.workflow import Workflow, WorkflowParameters, WorkflowProgress, WorkflowRegistry
    from loguru import logger
    from pydantic import Field


    class PersistenceParameters(WorkflowParameters):
        forecast_times: list[str] = Field(default=["2024-01-01T00:00:00"])
        nsteps: int = Field(default=2, ge=1, le=100)


    @WorkflowRegistry.instance().register
    class PersistenceWorkflow(Workflow):
        name = "plain_persistence"
        description = "A forecast that manages its output itself"
        Parameters = PersistenceParameters

        @classmethod
        def validate_parameters(cls, parameters):
            try:
                return PersistenceParameters.validate(parameters)
            except Exception as error:
                raise ValueError(f"Invalid parameters: {error}") from error

        def run(self, parameters, execution_id):
            parameters = self.validate_parameters(parameters)
            self.update_execution_data(execution_id, {"metadata": {"parameters": parameters.model_dump()}})
            from earth2studio import run
            from earth2studio.data import Random
            from earth2studio.io import ZarrBackend
            from earth2studio.models.px import Persistence

            grid = {"lat": np.linspace(90, -90, 7), "lon": np.linspace(0, 360, 12, endpoint=False)}
            io = ZarrBackend(file_name=str(self.get_output_path(execution_id) / "results.zarr"))
            started = WorkflowProgress(progress="Running", current_step=1, total_steps=2)
            self.update_execution_data(execution_id, started)
            io = run.deterministic(
                parameters.forecast_times, parameters.nsteps, Persistence(["t2m"], grid), Random(grid), io
            )
            assert "t2m" in io
            logger.info("done")
            self.update_execution_data(execution_id, WorkflowProgress(progress="Complete!", current_step=2))
            return {"status": "success"}
"""

NUMPY = """
    import numpy as np
    from earth2studio.io import IOBackend
    from earth2studio.serve.server import Earth2Workflow, WorkflowRegistry


    @WorkflowRegistry.instance().register
    class Ramp(Earth2Workflow):
        name = "ramp"

        def __call__(self, io: IOBackend, output_format: str = "zarr", num_steps: int = 2) -> None:
            leads = np.arange(num_steps + 1) * np.timedelta64(6, "h")
            coords = {"time": np.array(["2024-01-01"], "datetime64[ns]"), "lead_time": leads, "lat": np.arange(3.0)}
            io.add_array(coords, "t2m")
            for step in range(num_steps + 1):
                part = coords | {"lead_time": leads[step : step + 1]}
                io.write(np.full((1, 1, 3), step, "float32"), part, "t2m")
"""


@pytest.fixture(scope="module", params=["s3", "server"])
def storage_type(request) -> str:
    """How results are read: by signed URL, or from the API."""
    return request.param


@pytest.fixture(scope="module")
def stack(storage_type, tmp_path_factory, pytestconfig) -> Iterator[Stack]:
    """A stack over the example workflows and those above; one for all tests, as importing PyTorch takes its time."""
    tmp_path = tmp_path_factory.mktemp("stack")
    directory = tmp_path / "workflows"
    directory.mkdir()
    (directory / "plain.py").write_text(dedent(PLAIN))
    (directory / "ramp.py").write_text(dedent(NUMPY))
    settings: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "api.port": 0,
        "edge.port": 0,
        "workflows.directories": [pytestconfig.rootpath / "server/example_workflows", Path(directory)],
        "workflows.config": {"deterministic_earth2_workflow": {"resolution": 30}},
        "results.min_free_disk_bytes": 0,
        "object_storage.enabled": storage_type == "s3",
    }
    with Stack(load_settings(settings, environ={}, cwd=tmp_path).settings) as running:
        yield running


@pytest.fixture
def remote(stack):
    """Make Earth2Studio's own client of a workflow, unmodified."""
    from earth2studio.serve.client.e2client import RemoteEarth2Workflow

    opened = []

    def make(workflow: str = "deterministic_earth2_workflow") -> RemoteEarth2Workflow:
        made = RemoteEarth2Workflow(stack.api_url, workflow, device="cpu")
        opened.append(made)
        return made

    yield make
    for made in opened:
        made.client.close()
