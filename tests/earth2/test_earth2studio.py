"""Earth2Studio on both sides: its workflows in our service, and its unmodified client against it."""

import json
import sys
from datetime import datetime

import numpy as np
import pytest
import xarray as xr

pytestmark = [
    pytest.mark.earth2,
    pytest.mark.filterwarnings("default"),  # other people's packages, and not as we pin them
    pytest.mark.timeout(300),
]

START = [datetime(2024, 1, 1), datetime(2024, 1, 2)]  # noqa: DTZ001 - as Earth2Studio's users write it


def test_a_forecast_is_a_dataset_with_sane_coordinates(remote):
    """The example's forecast opens with times, lead times and grid; persistence is the same at every lead time."""
    ds = remote()(start_time=START, num_steps=3).as_dataset().load()
    assert set(ds.data_vars) == {"t2m", "u10m", "v10m", "msl"}
    assert ds["t2m"].dims == ("time", "lead_time", "lat", "lon")
    assert np.array_equal(ds["time"].values, np.array(START, "datetime64[ns]"))
    assert (ds["lead_time"] / np.timedelta64(1, "h")).values.tolist() == [0, 6, 12, 18]
    assert ds["lat"].values.tolist() == [90, 60, 30, 0, -30, -60, -90]
    assert ds["lon"].values.tolist() == list(range(0, 360, 30))
    assert ds["t2m"].std() > 0.5
    xr.testing.assert_identical(ds.isel(lead_time=0, drop=True), ds.isel(lead_time=3, drop=True))


def test_variables_are_chosen_by_the_request(remote):
    """Only the variables that a request names are written."""
    ds = remote()(num_steps=1, variables=["msl"]).as_dataset()
    assert set(ds.data_vars) == {"msl"}


def test_the_client_submits_waits_and_downloads(remote, storage_type):
    """Status, results and files reach Earth2Studio's own classes, for either kind of storage."""
    from earth2studio.serve.client.models import InferenceRequest, RequestStatus, StorageType

    client = remote().client
    assert client.health_check().status == "healthy"
    submitted = client.submit_inference_request(InferenceRequest(parameters={"start_time": START, "num_steps": 2}))
    result = client.wait_for_completion(submitted.execution_id, poll_interval=0.2, timeout=120)
    assert result.storage_type == StorageType(storage_type)
    assert result.status is RequestStatus.COMPLETED
    assert result.result_paths() == [f"{submitted.execution_id}/results.zarr"]
    progress = client.get_request_status(submitted.execution_id).progress
    assert (progress.progress, progress.current_step, progress.total_steps) == ("Computed", 3, 3)
    downloaded = client.download_result(result, f"{result.result_paths()[0]}/zarr.json")
    assert json.load(downloaded)["node_type"] == "group"


def test_the_result_is_a_data_source(remote):
    """What was computed remotely initialises the next model locally."""
    source = remote()(num_steps=1, variables=["t2m"]).as_data_source()
    field = source(START[:1], ["t2m"])
    assert field.sel(variable="t2m").notnull().all()


def test_a_workflow_that_manages_its_output_runs(remote):
    """A file for the lower-level base class runs as it is, with Earth2Studio's own backend."""
    handle = remote("plain_persistence")(forecast_times=["2024-01-01T00:00:00"], nsteps=2)
    ds = handle.as_dataset()
    assert ds["t2m"].shape == (1, 3, 7, 12)
    status = handle.workflow.client.get_request_status(handle.execution_id)
    assert (status.progress.progress, status.progress.current_step) == ("Complete!", 2)


def test_numpy_writes_to_the_real_backend(remote):
    """A workflow that computes with NumPy is the same where Earth2Studio is installed."""
    ds = remote("ramp")().as_dataset().load()
    assert ds["t2m"].isel(time=0, lat=1).values.tolist() == [0, 1, 2]


def test_a_netcdf_output_is_a_whole_file(remote):
    """A workflow's `output_format` chooses netCDF; the file is closed, and its readers find every step."""
    handle = remote("ramp")(output_format="netcdf4")
    client = handle.workflow.client
    result = client.wait_for_completion(handle.execution_id, poll_interval=0.2, timeout=120)
    assert result.result_paths() == [f"{handle.execution_id}/results.nc"]
    downloaded = client.download_result(result, result.result_paths()[0])
    with xr.open_dataset(downloaded, engine="h5netcdf") as ds:
        assert ds["t2m"].isel(time=0, lat=1).values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("parameters", [{"num_steps": 0}, {"start_time": []}])
def test_a_refusal_reaches_the_client(remote, parameters):
    """A request that a workflow does not accept is the client's error with the reason."""
    from earth2studio.serve.client.exceptions import Earth2StudioAPIError

    with pytest.raises(Earth2StudioAPIError) as caught:
        remote()(**parameters)
    assert caught.value.status_code == 422
    assert next(iter(parameters)) in str(caught.value) + str(caught.value.details)


def test_the_real_server_is_never_imported(stack):
    """Loading workflow files leaves nothing under the names of Earth2Studio's server, neither theirs nor ours."""
    assert stack.api_url
    assert not [name for name in sys.modules if name.startswith("earth2studio.serve.server")]
