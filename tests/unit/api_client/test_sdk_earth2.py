"""What needs Earth2Studio: its data source and model, and what happens without it."""

import sys
from datetime import datetime
from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr

from api_client import e2client
from api_client.e2client import RemoteEarth2Workflow, RemoteEarth2WorkflowResult

ID = "exec_1769560728_10ed9d3c"
START = np.datetime64("2025-08-21T06:00:00", "ns")


@pytest.fixture
def forecast(peer, tmp_path):
    """A result in the form that Earth2Studio's workflows write: one start, three lead times."""
    shape = ("time", "lead_time", "lat", "lon")
    ds = xr.Dataset(
        {
            "t2m": (shape, np.arange(24.0, dtype="f4").reshape(1, 3, 2, 4)),
            "u10m": (shape, np.arange(24.0, 48.0, dtype="f4").reshape(1, 3, 2, 4)),
        },
        {
            "time": [START],
            "lead_time": np.array([0, 6, 12], "m8[h]").astype("m8[ns]"),
            "lat": [10.0, 0.0],
            "lon": [0.0, 90.0, 180.0, 270.0],
        },
    )
    store = tmp_path / "results.zarr"
    ds.to_zarr(store, consolidated=True, zarr_format=2)
    peer.files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    return RemoteEarth2WorkflowResult(RemoteEarth2Workflow(peer.origin, "wf", device="cpu"), ID)


without = pytest.mark.skipif(find_spec("earth2studio") is not None, reason="Earth2Studio is installed")


@without
@pytest.mark.parametrize("method", ["as_data_source", "as_model"])
def test_without_earth2studio_its_views_say_what_to_install(forecast, method):
    """The dataset opens; data source and model name the package that they need."""
    assert list(forecast.as_dataset()) == ["t2m", "u10m"]
    with pytest.raises(ImportError, match="pip install earth2studio"):
        getattr(forecast, method)()


@without
def test_without_earth2studio_the_models_name_is_an_import_error():
    """`from api_client.e2client import InferenceOutputModel` says what to install; another name is no attribute."""
    with pytest.raises(ImportError, match="pip install earth2studio"):
        _ = e2client.InferenceOutputModel
    with pytest.raises(AttributeError, match="InferenceModel"):
        _ = e2client.InferenceModel


def test_the_device_is_what_was_asked_for(peer):
    """Named, it is kept; moved, it is the new one, and the workflow itself is returned."""
    workflow = RemoteEarth2Workflow(peer.origin, "wf", device="cuda:1")
    assert workflow.device == "cuda:1"
    assert workflow.to("cpu") is workflow
    assert workflow.device == "cpu"


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_the_device_is_the_cpu(peer):
    """Not named, it does not need PyTorch either."""
    assert RemoteEarth2Workflow(peer.origin, "wf").device == "cpu"
    assert "torch" not in sys.modules


@pytest.mark.earth2
class TestWithEarth2Studio:
    """With the real package."""

    pytestmark = pytest.mark.filterwarnings("default")  # Earth2Studio's and PyTorch's own are not ours to fix

    def test_a_data_source_answers_for_valid_times(self, forecast):
        """The 12 h forecast is the value at 18:00."""
        source = forecast.as_data_source()
        t2m = source(datetime(2025, 8, 21, 18), "t2m")  # noqa: DTZ001 - Earth2Studio's times have no zone
        np.testing.assert_array_equal(t2m.values.ravel(), np.arange(16.0, 24.0))

    @pytest.mark.parametrize("iter_coord", ["time", "lead_time"])
    def test_a_model_yields_each_step(self, forecast, iter_coord):
        """Three steps with their values and coordinates, counted by the coordinate that was asked for."""
        import torch

        model = forecast.as_model(iter_coord)
        steps = list(model.create_iterator())
        assert [list(coords) for _, coords in steps] == [["time", "lead_time", "variable", "lat", "lon"]] * 3
        assert all(isinstance(x, torch.Tensor) and tuple(x.shape) == (1, 1, 2, 2, 4) for x, _ in steps)
        np.testing.assert_array_equal(steps[2][0][0, 0, 0].ravel().numpy(), np.arange(16.0, 24.0))
        hours = [
            int(coords[iter_coord][0].astype("M8[h]" if iter_coord == "time" else "m8[h]").astype(int))
            for _, coords in steps
        ]
        assert [hour - hours[0] for hour in hours] == [0, 6, 12]

    def test_the_model_is_earth2studios_kind_of_prognostic_model(self, forecast):
        """It satisfies Earth2Studio's protocol, and its class is importable where users import it from."""
        from earth2studio.models.px import PrognosticModel

        model = forecast.as_model()
        assert isinstance(model, e2client.InferenceOutputModel)
        assert isinstance(model, PrognosticModel)
        assert model.to("cpu") is model
        out = model.output_coords(model.input_coords())
        assert out["lead_time"].tolist() == [np.timedelta64(6, "h").astype("m8[ns]").astype(int)]
        assert out["variable"].tolist() == ["t2m", "u10m"]

    def test_the_model_drives_earth2studios_own_forecast_loop(self, forecast):
        """`earth2studio.run.deterministic` takes it for a model, and its output is the result."""
        from earth2studio.data import Random
        from earth2studio.io import XarrayBackend
        from earth2studio.run import deterministic

        model = forecast.as_model()
        coords = model.output_coords(model.input_coords())
        source = Random({"lat": coords["lat"], "lon": coords["lon"]})
        io = deterministic([START], 2, model, source, XarrayBackend({}), device="cpu", verbose=False)
        np.testing.assert_array_equal(io.root["t2m"].values.ravel(), np.arange(24.0))
