"""Workflows that are called with an IO backend: their models, their output, their progress."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from wildcast_server.compat.e2workflow import Earth2Workflow
from wildcast_server.compat.output import BackendProgress, open_output
from wildcast_server.domain.parameters import restore, to_json, validate
from wildcast_server.errors import InvalidParametersError

FORECAST = """
from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from earth2studio.serve.server import Earth2Workflow, WorkflowRegistry

if TYPE_CHECKING:
    from earth2studio.io import IOBackend


@WorkflowRegistry.instance().register
class Warming(Earth2Workflow):
    name = "warming"
    description = "a kelvin a step"
    constructed = 0

    def __init__(self, model_type: Literal["small", "large"] = "small", rate: float = 1.0):
        super().__init__()
        Warming.constructed += 1
        self.model_type, self.rate = model_type, rate

    def __call__(
        self,
        io: IOBackend,
        start_time: list[datetime] = [datetime(2024, 1, 1)],
        num_steps: int = 3,
        step: timedelta = timedelta(hours=6),
        names: list[str] | None = None,
    ) -> None:
        coords = {
            "time": np.array(start_time, dtype="datetime64[ns]"),
            "lead_time": np.array([index * step for index in range(num_steps + 1)], dtype="timedelta64[ns]"),
            "lat": np.array([45.0, -45.0]),
        }
        names = names or ["t2m", "sst"]
        io.add_array(coords, names)
        for index in range(num_steps + 1):
            field = np.full((len(start_time), 1, 2), 273 + index * self.rate, dtype="float32")
            io.write([field] * len(names), coords | {"lead_time": coords["lead_time"][index : index + 1]}, names)
"""


@pytest.fixture
def warming(load_one):
    """Load a forecast that needs NumPy alone."""
    return load_one(FORECAST)


def test_parameters_follow_from_the_call(warming):
    """Each parameter but `io` is in the schema, with its type and default."""
    properties = warming.Parameters.model_json_schema()["properties"]
    assert list(properties) == ["start_time", "num_steps", "step", "names"]
    assert properties["start_time"]["default"] == ["2024-01-01T00:00:00"]
    assert properties["start_time"]["items"] == {"format": "date-time", "type": "string"}
    assert (properties["num_steps"]["minimum"], properties["num_steps"]["maximum"]) == (1, 1000)


def test_the_configuration_follows_from_the_constructor(warming):
    """Each keyword of the constructor can be configured, and only with what its hint allows."""
    assert list(warming.Config.model_fields) == ["model_type", "rate"]
    with pytest.raises(ValueError, match="model_type"):
        warming.Config(model_type="huge")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"start_time": ["2024-06-01T12:00:00Z", "2024-06-02T00:00:00+02:00"], "step": 1800},
        {"num_steps": 1000, "step": "PT1H", "names": ["a", "b"]},
    ],
)
def test_parameters_are_the_same_after_being_recorded(warming, parameters):
    """Times, lists of them and durations, also as the seconds that Earth2Studio's client sends, come back unchanged."""
    made = validate(warming, parameters)
    assert restore(warming, to_json(made)) == made


def test_defaults_are_as_a_request_gives_them(load_one, run_here):
    """A default that JSON has no form for, such as a tuple or text for a path, can be recorded and run like any."""
    workflow = load_one(
        """
        from collections.abc import Sequence
        from pathlib import Path
        from earth2studio.serve.server import Earth2Workflow, workflow_registry

        @workflow_registry.register
        class Defaults(Earth2Workflow):
            def __call__(self, io, variables: Sequence[str] | None = ("t2m", "msl"), mask: Path = "mask.nc"):
                self.update_execution_data(self.execution_id, {"seen": [variables, mask]})
        """
    )
    recorded = to_json(validate(workflow, {}))
    assert recorded == {"variables": ["t2m", "msl"], "mask": "mask.nc"}
    _, progress = run_here(workflow, **recorded)
    assert progress[-1]["seen"] == [["t2m", "msl"], "mask.nc"]


def test_a_default_that_no_request_could_give_is_refused_when_it_is_used(load_one):
    """A file with `None` where the hint has no None loads; requests that leave the parameter out are told."""
    source = FORECAST.replace("names: list[str] | None = None", "names: list[str] = None")
    workflow = load_one(source)
    assert validate(workflow, {"names": ["a"]})
    with pytest.raises(InvalidParametersError, match="names"):
        to_json(validate(workflow, {}))


@pytest.mark.parametrize("parameters", [{"num_steps": 0}, {"num_steps": 1001}, {"start_time": []} | {"io": "x"}])
def test_what_the_call_does_not_take_is_refused(warming, parameters):
    """Steps are bounded as at Earth2Studio's server, and `io` is nothing that a request gives."""
    with pytest.raises(InvalidParametersError):
        validate(warming, parameters)


def test_the_output_opens_with_sane_coordinates(warming, run_here):
    """`results.zarr` holds every field with times and lead times that xarray knows."""
    output, _ = run_here(warming, {"rate": 2}, num_steps=2)
    with xr.open_zarr(output / "results.zarr", consolidated=False) as ds:
        assert ds["t2m"].dims == ("time", "lead_time", "lat")
        assert ds["time"].values.tolist() == [np.datetime64("2024-01-01", "ns").astype(int)]
        assert (ds["lead_time"] / np.timedelta64(1, "h")).values.tolist() == [0, 6, 12]
        assert ds["sst"].isel(time=0, lat=1).values.tolist() == [273, 275, 277]


def test_progress_counts_the_written_lead_times(warming, run_here):
    """A reader sees how many lead times are written, once for all variables, between words for begin and end."""
    _, progress = run_here(warming, num_steps=2)
    steps = [(entry.get("current_step"), entry.get("total_steps")) for entry in progress]
    assert steps == [(None, None), (None, None), (0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]
    assert [progress[0]["progress"], progress[3]["progress"], progress[-1]["progress"]] == [
        "Opening the output",
        "Computing",
        "Computed",
    ]


def test_a_name_is_the_classs_unless_it_has_one(load):
    """As at Earth2Studio's server, `name` is not inherited: without one, a class is called as it is."""
    derived = "\n@WorkflowRegistry.instance().register\nclass Cooling(Warming):\n    def __call__(self, io): ..."
    assert load(FORECAST + derived).registry.names() == ["Cooling", "warming"]


def test_an_inherited_constructor_is_configured_alike(load):
    """A class without a constructor of its own is configured as its base."""
    derived = "\n@WorkflowRegistry.instance().register\nclass Cooling(Warming):\n    def __call__(self, io): ..."
    workflow = load(FORECAST + derived).registry.get("Cooling")
    assert list(workflow.Config.model_fields) == ["model_type", "rate"]
    assert list(workflow.Parameters.model_fields) == []


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("names: list[str] | None = None", "names=None", "Warming.__call__: the type hint of 'names' is missing"),
        ("num_steps: int", "num_steps: Missing", "Warming.__call__: the type hint of 'num_steps' cannot be resolved"),
        ("rate: float = 1.0", "rate=1.0", "Warming.__init__: the type hint of 'rate' is missing"),
    ],
)
def test_a_signature_that_says_too_little_fails_the_file(failure_of, before, after, reason):
    """A parameter without a usable type hint is told by its method and name."""
    assert reason in failure_of(FORECAST.replace(before, after))


def test_authors_may_bound_steps_themselves(load_one):
    """A bound in the hint counts more than the one that the name brings."""
    source = FORECAST.replace("num_steps: int", "num_steps: Annotated[int, Field(le=5000)]").replace(
        "TYPE_CHECKING, Literal", "TYPE_CHECKING, Annotated, Literal\n\nfrom pydantic import Field"
    )
    assert load_one(source).Parameters.model_json_schema()["properties"]["num_steps"]["maximum"] == 5000


def test_netcdf_without_earth2studio_says_what_is_missing(load_one, run_here):
    """A call that chooses `netcdf4` is told that this takes Earth2Studio."""
    source = FORECAST.replace("names: list[str] | None = None", 'output_format: str = "netcdf4"')
    with pytest.raises(ValueError, match="needs Earth2Studio: pip install"):
        run_here(load_one(source))


def test_another_output_format_is_refused(tmp_path):
    """A format that does not exist is told with those that do."""
    with (
        pytest.raises(ValueError, match="'grib' is not known: there are zarr and netcdf4"),
        open_output(tmp_path, "grib"),
    ):
        pass


def test_a_workflow_can_be_called_without_a_service(tmp_path):
    """Outside a service, in a notebook, an instance is called with any backend; progress goes nowhere."""

    class Direct(Earth2Workflow):
        def __call__(self, io, value: float) -> None:
            io.add_array({"x": np.arange(2.0)}, "field", np.full(2, value))

    workflow = Direct()
    with open_output(tmp_path, "zarr") as backend:
        workflow(BackendProgress(backend, workflow, "none"), value=4.0)
        assert backend["field"][:].tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="Direct does not run 'exec_1'"):
        workflow.get_output_path("exec_1")


def test_the_backend_is_reached_through_its_progress(tmp_path):
    """What a workflow asks of its `io` is answered by the backend itself."""
    with open_output(tmp_path, "zarr") as backend:
        io = BackendProgress(backend, SimpleNamespace(update_progress=lambda _: None), "none")
        io.add_array({"x": np.arange(3)}, "field")
        assert io.io is backend
        assert "field" in io
        assert "other" not in io
        assert sorted(io) == ["field", "x"]
        assert len(io) == 2
        assert io["x"][:].tolist() == [0, 1, 2]
        assert io.root is backend.root
        assert list(io.coords) == ["x"]
        with pytest.raises(AttributeError):
            _ = io.missing


def test_writing_elsewhere_is_no_progress(tmp_path):
    """Arrays without the dimension, or at a lead time that was not announced, count nothing."""
    told = []
    with open_output(tmp_path, "zarr") as backend:
        io = BackendProgress(backend, SimpleNamespace(update_progress=told.append), "none")
        io.add_array({"x": np.arange(3)}, "static", data=np.zeros(3))
        io.write(np.ones(3), {"x": np.arange(3)}, "static")
        assert told == []
        io.add_array({"lead_time": np.arange(2)}, "field")
        io.add_array({"lead_time": np.arange(2)}, "second")
        io.write(np.ones(2), {"lead_time": np.arange(2)}, "second")
        assert [(progress.current_step, progress.total_steps) for progress in told] == [(0, 2)]
