"""What the Earth2Studio SDK's users have in their scripts runs against our server, for both storage types.

Only the server's address, the workflow's name and its parameters are the test's own.
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
import requests
import xarray as xr

from api_client.client import Earth2StudioClient, InferenceRequest
from api_client.e2client import RemoteEarth2Workflow, RemoteEarth2WorkflowResult
from api_client.exceptions import Earth2StudioAPIError
from api_client.models import RequestStatus
from api_client.object_storage import create_cloudfront_mapper
from wildcast_server.settings import load_settings
from wildcast_server.wiring.fork_server import ForkServer
from wildcast_server.wiring.stack import Stack

START = datetime(2025, 8, 21, 6)  # noqa: DTZ001 - as users write it
NAME = "forecast"
WORKFLOW = '''
"""A forecast as the deterministic workflow writes it, without a model."""

from datetime import datetime

import numpy as np
import xarray as xr
from wildcast_server import RunContext, workflow


@workflow
def forecast(context: RunContext, start_time: list[datetime], num_steps: int = 4, diverge: bool = False) -> None:
    """Write air temperature for each lead time."""
    if diverge:
        raise ArithmeticError("no convergence")
    t2m = np.arange((num_steps + 1) * 8.0).reshape(1, num_steps + 1, 2, 4)
    for step in range(num_steps + 1):
        context.progress(step, num_steps, gpu="none")
    ds = xr.Dataset(
        {"t2m": (("time", "lead_time", "lat", "lon"), t2m)},
        {
            "time": np.array([time.replace(tzinfo=None) for time in start_time], "M8[ns]"),
            "lead_time": (np.arange(num_steps + 1) * np.timedelta64(6, "h")).astype("m8[ns]"),
            "lat": [45.0, 0.0],
            "lon": [0.0, 90.0, 180.0, 270.0],
        },
    )
    ds.to_zarr(context.output_directory / "results.zarr", zarr_format=2, consolidated=False)
    ds.to_netcdf(context.output_directory / "run #1?.nc", engine="h5netcdf")
'''
"""Each value of `t2m` is its own number, counted through."""

SIGNED = pytest.mark.parametrize("storage_type", ["s3"], indirect=True)
"""For what needs a signed URL, which there is none of where the API serves the files."""


@pytest.fixture(scope="module", params=["s3", "server"])
def storage_type(request: pytest.FixtureRequest) -> str:
    """How results are read."""
    return request.param


@pytest.fixture(scope="module")
def api_url(storage_type: str, tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> Iterator[str]:
    """A whole stack: API, worker, store and edge."""
    directory = tmp_path_factory.mktemp(storage_type)
    (directory / "workflows").mkdir()
    (directory / "workflows" / "forecast.py").write_text(WORKFLOW)
    values = {
        "data_dir": directory / "data",
        "api.port": 0,
        "edge.port": 0,
        "workflows.directories": [directory / "workflows"],
        "results.min_free_disk_bytes": 0,
        "object_storage.enabled": storage_type == "s3",
    }
    with Stack(load_settings(values, environ={}, cwd=directory).settings, forks=forks) as stack:
        yield stack.api_url


@pytest.fixture(scope="module")
def client(api_url: str) -> Iterator[Earth2StudioClient]:
    """The SDK's client of that server."""
    with Earth2StudioClient(api_url, workflow_name=NAME) as opened:
        yield opened


@pytest.fixture(scope="module")
def request_result(client):
    """A completed request."""
    return client.run_inference_sync(InferenceRequest(parameters={"start_time": [START]}))


def test_seamless_access(api_url):
    """A workflow is called like a function, and its dataset opens wherever it is stored."""
    workflow = RemoteEarth2Workflow(api_url, workflow_name=NAME)

    result = workflow(start_time=[datetime(2025, 8, 21, 6)])  # noqa: DTZ001 - as users write it
    ds = result.as_dataset()

    assert ds["time"].values == np.datetime64("2025-08-21T06")
    np.testing.assert_array_equal(ds["t2m"].values.ravel(), np.arange(40.0))
    t2m = ds["t2m"].sel(lead_time=np.timedelta64(timedelta(hours=24)))
    assert t2m.sel(lat=1, lon=91, method="nearest").load().item() == 37


def test_direct_file_download(client, request_result, storage_type):
    """Files are downloaded by the paths that the result lists."""
    assert request_result.storage_type.value == storage_type
    assert (request_result.signed_url is None) == (storage_type == "server")
    for file in request_result.output_files[:5]:
        content = client.download_result(request_result, file.path)
        assert len(content.getvalue()) == file.size
    assert len(request_result.output_files) > 5


@SIGNED
def test_signed_url_directly(request_result):
    """Any HTTP client reads a file by the URL's base, the file's path, and the URL's query."""
    signed_url = request_result.signed_url

    base_url = signed_url.split("?")[0].rstrip("/*")
    query_params = signed_url.split("?")[1]

    file_path = "results.zarr/t2m/.zarray"
    file_url = f"{base_url}/{file_path}?{query_params}"
    response = requests.get(file_url, timeout=30)

    assert response.status_code == 200
    assert response.json()["shape"] == [1, 5, 2, 4]


@SIGNED
def test_xarray_and_zarr(request_result):
    """A mapper of the signed URL opens in xarray, lazily."""
    mapper = create_cloudfront_mapper(request_result.signed_url, zarr_path="results.zarr")

    ds = xr.open_zarr(mapper, consolidated=True)

    np.testing.assert_array_equal(ds["t2m"].values.ravel(), np.arange(40.0))


def test_health(client):
    """The first lines of many scripts."""
    assert client.health_check().status == "healthy"


def test_status_is_watched_until_the_end(client):
    """Submitting, looking at the status and fetching the results are three steps."""
    response = client.submit_inference_request(InferenceRequest(parameters={"start_time": [START]}))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = client.get_request_status(response.execution_id)
        if status.status in [RequestStatus.COMPLETED, RequestStatus.FAILED]:
            break
        time.sleep(0.05)
    assert status.status == RequestStatus.COMPLETED
    assert (status.progress.current_step, status.progress.total_steps) == (4, 4)
    assert status.progress.extra["gpu"] == "none"
    assert client.get_request_results(response.execution_id).request_id == response.execution_id


def test_a_saved_execution_id_opens_later(api_url, request_result):
    """With the id alone, another process has the same data."""
    workflow = RemoteEarth2Workflow(api_url, workflow_name=NAME)
    result = RemoteEarth2WorkflowResult(workflow, request_result.request_id)
    np.testing.assert_array_equal(result.as_dataset()["t2m"].values.ravel(), np.arange(40.0))


def test_a_files_address_for_other_tools(api_url, client, request_result):
    """The server's address, the root path and a path make a URL that any tool fetches."""
    result_root = client.result_root_path(request_result)
    result_path = request_result.result_paths()[0]
    result_url = urljoin(api_url, f"{result_root}{result_path}")
    assert requests.get(f"{result_url}/t2m/.zarray", timeout=30).json()["shape"] == [1, 5, 2, 4]


def test_the_second_output_and_its_name(api_url, request_result):
    """A netCDF file with `#` and `?` in its name is listed, opened and read."""
    path = f"{request_result.request_id}/run #1?.nc"
    assert request_result.result_paths() == [f"{request_result.request_id}/results.zarr", path]
    result = RemoteEarth2WorkflowResult(RemoteEarth2Workflow(api_url, NAME), request_result.request_id)
    with result.as_dataset(path) as ds:
        np.testing.assert_array_equal(ds["t2m"].values.ravel(), np.arange(40.0))


def test_what_the_workflow_raises_reaches_the_user(client):
    """A failed run's reason is in the exception."""
    with pytest.raises(Earth2StudioAPIError, match="no convergence"):
        client.run_inference_sync(InferenceRequest(parameters={"start_time": [START], "diverge": True}))


def test_parameters_that_are_wrong_are_told_about(client):
    """The server's sentence names the field."""
    with pytest.raises(Earth2StudioAPIError, match="num_steps") as caught:
        client.submit_inference_request(InferenceRequest(parameters={"start_time": [START], "num_steps": "many"}))
    assert caught.value.status_code == 422


def test_the_guides_code_runs(api_url, tmp_path, pytestconfig):
    """What docs/moving-from-earth2studio.md shows does what it says there."""
    guide = (pytestconfig.rootpath / "docs" / "moving-from-earth2studio.md").read_text(encoding="utf-8")
    shown: dict[str, Any] = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)), shown)  # noqa: S102 - our own
    assert shown["high_level"](api_url, NAME).sizes["lead_time"] == 5
    contents = shown["low_level"](api_url, NAME)
    assert len(contents["results.zarr/t2m/.zarray"].getvalue()) > 0
    written = shown["beyond_memory"](api_url, NAME, tmp_path)
    assert written.is_relative_to(tmp_path)
    assert written.stat().st_size > 0
