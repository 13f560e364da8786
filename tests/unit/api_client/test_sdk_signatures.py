"""The SDK's public names are those that its users know: modules, signatures, members."""

import dataclasses
import importlib
import inspect
import subprocess
import sys

import pytest

from api_client import client, e2client, exceptions, fsspec_utils, models, object_storage

E = inspect.Parameter.empty
CLIENT, WORKFLOW, RESULT = client.Earth2StudioClient, e2client.RemoteEarth2Workflow, e2client.RemoteEarth2WorkflowResult

SIGNATURES = [
    (
        CLIENT,
        {
            "base_url": "http://localhost:8000",
            "workflow_name": "deterministic_earth2_workflow",
            "timeout": 30.0,
            "max_retries": 3,
            "retry_backoff_factor": 0.3,
            "token": None,
        },
    ),
    (CLIENT.health_check, {"self": E}),
    (CLIENT.submit_inference_request, {"self": E, "request": E}),
    (CLIENT.get_request_status, {"self": E, "request_id": E}),
    (CLIENT.get_request_results, {"self": E, "request_id": E, "timeout": None}),
    (CLIENT.wait_for_completion, {"self": E, "request_id": E, "poll_interval": 5.0, "timeout": None}),
    (CLIENT.run_inference_sync, {"self": E, "request": E, "poll_interval": 5.0, "timeout": None}),
    (CLIENT.result_root_path, {"self": E, "result": E}),
    (CLIENT.download_result, {"self": E, "result": E, "path": E, "timeout": None}),
    (CLIENT.close, {"self": E}),
    (CLIENT.__enter__, {"self": E}),
    (CLIENT.__exit__, {"self": E, "exc_type": E, "exc_val": E, "exc_tb": E}),
    (WORKFLOW, {"base_url": E, "workflow_name": E, "device": None, "xr_args": None, "client_kwargs": E}),
    (WORKFLOW.__call__, {"self": E, "kwargs": E}),
    (WORKFLOW.to, {"self": E, "device": E}),
    (RESULT, {"workflow": E, "execution_id": E}),
    (RESULT.as_dataset, {"self": E}),
    (RESULT.as_data_source, {"self": E}),
    (RESULT.as_model, {"self": E, "iter_coord": "lead_time"}),
    (object_storage.create_cloudfront_mapper, {"signed_url": E, "zarr_path": ""}),
    (object_storage.get_mapper, {"request_result": E, "zarr_path": ""}),
    (object_storage.SignedURLFileSystem.__init__, {"self": E, "base_fs": E, "query_params": E, "base_url": E}),
    (models.InferenceRequest, {"parameters": None}),
    (models.InferenceRequest.to_dict, {"self": E}),
    (models.InferenceRequest.json_serial, {"obj": E}),
    (models.InferenceRequestResponse, {"execution_id": E, "status": E, "message": E, "timestamp": E}),
    (models.InferenceRequestResponse.from_dict, {"data": E}),
    (models.ProgressInfo, {"progress": E, "current_step": E, "total_steps": E}),
    (models.InferenceRequestStatus, {"execution_id": E, "status": E, "progress": E, "error_message": E}),
    (models.InferenceRequestStatus.from_dict, {"data": E}),
    (models.OutputFile, {"path": E, "size": E}),
    (models.OutputFile.from_dict, {"data": E}),
    (
        models.InferenceRequestResults,
        {
            "request_id": E,
            "status": E,
            "output_files": E,
            "completion_time": E,
            "execution_time_seconds": None,
            "storage_type": models.StorageType.SERVER,
            "signed_url": None,
        },
    ),
    (models.InferenceRequestResults.from_dict, {"data": E}),
    (models.InferenceRequestResults.result_paths, {"self": E}),
    (models.HealthStatus, {"status": E, "timestamp": E}),
    (models.HealthStatus.from_dict, {"data": E}),
    (exceptions.Earth2StudioAPIError, {"message": E, "status_code": None, "details": None}),
    (exceptions.BadRequestError, {"message": E, "details": None}),
    (exceptions.InferenceRequestNotFoundError, {"message": E, "details": None}),
    (exceptions.InternalServerError, {"message": E, "details": None}),
    (exceptions.RequestTimeoutError, {"message": "Request timed out"}),
    (exceptions.APIConnectionError, {"message": "Failed to connect to Earth2Studio API"}),
]
"""Each of the Earth2Studio SDK's public callables, its parameters in order, and their defaults."""


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_signatures_are_the_sdks(function, expected):
    """Parameters have the SDK's names, order and defaults; ours come after them and may be left out."""
    parameters = inspect.signature(function).parameters
    given = {name: parameter.default for name, parameter in parameters.items()}
    assert list(given.items())[: len(expected)] == list(expected.items())
    ours = list(parameters.values())[len(expected) :]
    assert [parameter.name for parameter in ours if parameter.default is E] == []


def test_statuses_and_storage_types_have_the_sdks_members():
    """The enums know every value that the old ones knew, and `expired`, which only its server did."""
    statuses = {"accepted", "queued", "running", "completed", "failed", "cancelled", "pending_results"}
    assert {status.value for status in models.RequestStatus} == {*statuses, "expired"}
    assert all(status.name == status.value.upper() for status in models.RequestStatus)
    assert [(kind.name, kind.value) for kind in models.StorageType] == [("SERVER", "server"), ("S3", "s3")]
    assert models.StorageType.S3 == "s3"


def test_models_are_dataclasses_that_may_be_changed():
    """Users build, compare and change them as they always have."""
    file = models.OutputFile("exec_1/a", 1)
    file.size = 2
    assert dataclasses.asdict(file) == {"path": "exec_1/a", "size": 2}
    assert file == models.OutputFile("exec_1/a", 2)


@pytest.mark.parametrize(
    "kind",
    [
        "BadRequestError",
        "InferenceRequestNotFoundError",
        "InternalServerError",
        "RequestTimeoutError",
        "APIConnectionError",
        "ConnectionError",
    ],
)
def test_every_exception_is_an_earth2studio_api_error(kind):
    """One `except` catches them all, and both generations' names are there."""
    assert issubclass(getattr(exceptions, kind), exceptions.Earth2StudioAPIError)


def test_an_exception_shows_what_it_knows():
    """Message, status and details are attributes, and all of them are in its text."""
    error = exceptions.Earth2StudioAPIError("no", status_code=418, details="teapot")
    assert (error.message, error.status_code, error.details) == ("no", 418, "teapot")
    assert str(error) == "Earth2Studio API Error: no (HTTP 418) - teapot"
    assert [exceptions.BadRequestError("x").status_code, exceptions.InternalServerError("x").status_code] == [400, 500]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("client", "Earth2StudioClient InferenceRequest InferenceRequestResponse InferenceRequestResults HealthStatus"),
        ("client", "InferenceRequestStatus RequestStatus StorageType Earth2StudioAPIError RequestTimeoutError"),
        ("client", "BadRequestError InferenceRequestNotFoundError InternalServerError ClientConnectionError"),
        ("e2client", "RemoteEarth2Workflow RemoteEarth2WorkflowResult"),
        ("models", "InferenceRequest RequestStatus StorageType ProgressInfo OutputFile HealthStatus"),
        ("object_storage", "create_cloudfront_mapper get_mapper SignedURLFileSystem"),
        ("fsspec_utils", "create_cloudfront_mapper get_mapper SignedURLFileSystem"),
    ],
)
def test_names_are_importable_from_where_users_import_them(module, names):
    """`from api_client.<module> import <name>` works for each name that the SDK's modules offer."""
    found = importlib.import_module(f"api_client.{module}")
    assert [name for name in names.split() if not hasattr(found, name)] == []


def test_both_generations_of_the_storage_module_are_the_same():
    """The mapper of the older module name is the one of the newer."""
    assert fsspec_utils.create_cloudfront_mapper is object_storage.create_cloudfront_mapper


def test_importing_the_sdk_needs_neither_requests_nor_pytorch_nor_xarray():
    """A script that submits and downloads starts without the heavy packages."""
    code = (
        "import sys; import api_client.client, api_client.e2client, api_client.models, api_client.exceptions;"
        "print(sorted({'requests', 'torch', 'earth2studio', 'xarray', 'zarr', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "[]\n"
