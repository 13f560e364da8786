"""What is sent, and how the answers of both servers are read."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from api_client.models import (
    HealthStatus,
    InferenceRequest,
    InferenceRequestResponse,
    InferenceRequestResults,
    InferenceRequestStatus,
    OutputFile,
    ProgressInfo,
    RequestStatus,
    StorageType,
)

WHEN = datetime(2025, 8, 21, 6)  # noqa: DTZ001 - as the SDK's users write it


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ([WHEN], ["2025-08-21T06:00:00"]),
        (date(2025, 8, 21), "2025-08-21"),
        (timedelta(hours=6), 21600.0),
        (np.timedelta64(6, "h"), 21600.0),
        (np.array([0, 6], "m8[h]"), [0.0, 21600.0]),
        (np.datetime64("2025-08-21T06"), "2025-08-21T06:00:00"),
        (np.array(["2025-08-21", "2025-08-22"], "M8[D]"), ["2025-08-21T00:00:00", "2025-08-22T00:00:00"]),
        (np.arange(3), [0, 1, 2]),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (xr.DataArray([1.0, 2.0]), [1.0, 2.0]),
        (np.array([timedelta(seconds=1)], object), [1.0]),
        ({"nested": [{"at": WHEN}]}, {"nested": [{"at": "2025-08-21T06:00:00"}]}),
        ({timedelta(seconds=1)}, [1.0]),
        (RequestStatus.QUEUED, "queued"),
    ],
)
def test_parameters_are_sent_as_json(value, sent):
    """Times go as ISO 8601, differences as seconds, numpy's values as plain ones."""
    assert InferenceRequest({"p": value}).to_dict() == {"parameters": {"p": sent}}


def test_no_parameters_are_an_empty_object():
    """A request without parameters is one that a server accepts, and not null."""
    assert InferenceRequest().to_dict() == {"parameters": {}}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), TypeError),
        (b"bytes", TypeError),
        (float("nan"), ValueError),
        (np.array([np.inf]), ValueError),
        (np.timedelta64("NaT", "s"), ValueError),
    ],
)
def test_what_json_cannot_hold_is_refused_before_it_is_sent(value, kind):
    """An unsendable parameter is an error at the caller, not a broken body at the server."""
    with pytest.raises(kind):
        InferenceRequest({"p": value}).to_dict()


def test_a_submission_is_read():
    """Id, status, message and time of the answer; a `Z` is UTC."""
    data = {"execution_id": "e", "status": "queued", "message": "ok", "timestamp": "2026-01-01T00:00:00Z", "more": 1}
    expected = InferenceRequestResponse("e", RequestStatus.QUEUED, "ok", datetime(2026, 1, 1, tzinfo=UTC))
    assert InferenceRequestResponse.from_dict(data) == expected


@pytest.mark.parametrize("status", [*RequestStatus], ids=lambda status: status.value)
def test_every_status_that_a_server_sends_is_read(status):
    """Also `expired`, at which the SDK's own parser raised."""
    read = InferenceRequestStatus.from_dict({"execution_id": "e", "status": status.value})
    assert read == InferenceRequestStatus("e", status, None, None)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (None, None),
        ({"progress": "step", "current_step": 1, "total_steps": 3}, ProgressInfo("step", 1, 3)),
        ({"progress": None, "current_step": None, "total_steps": None}, ProgressInfo(None, None, None)),
        ({}, ProgressInfo(None, None, None)),
        ({"current_step": 2, "gpu": "A100", "loss": 0.5}, ProgressInfo(None, 2, None, {"gpu": "A100", "loss": 0.5})),
    ],
)
def test_progress_may_be_null_or_partial_and_keeps_the_workflows_own_fields(sent, read):
    """No member has to be there, and none is lost."""
    status = InferenceRequestStatus.from_dict({"execution_id": "e", "status": "running", "progress": sent})
    assert status.progress == read


def test_results_of_the_earth2studio_server_are_read():
    """Its keys are enough: no URL, no completion time, and `pending_results` for what is there."""
    read = InferenceRequestResults.from_dict(
        {
            "request_id": "e",
            "status": "pending_results",
            "completion_time": None,
            "zip_created_at": "x",
            "peak_memory_usage": "1 GB",
            "parameters": None,
            "output_files": [{"path": "e/a.nc", "size": 1, "mtime": 0}],
        }
    )
    assert read == InferenceRequestResults("e", RequestStatus.PENDING_RESULTS, [OutputFile("e/a.nc", 1)], None)
    assert read.storage_type is StorageType.SERVER


def test_the_signature_is_not_in_the_repr():
    """Printing or logging a result gives nobody access to it."""
    result = InferenceRequestResults("e", RequestStatus.COMPLETED, [], None, signed_url="https://x/*?Signature=canary")
    assert "canary" not in repr(result)
    assert result.signed_url.endswith("canary")


def test_result_paths_are_stores_then_netcdf_files():
    """Stores are named once and in order, at the first part of a path that ends in `.zarr`; the rest is left out."""
    paths = ["z.nc", "b.zarr/zarr.json", "b.zarr/t/c/0", "a.zarr/in.zarr/c", "my.zarr_v2/c.zarr/x", "d.zarr", "n.txt"]
    result = InferenceRequestResults("e", RequestStatus.COMPLETED, [OutputFile(f"e/{path}", 1) for path in paths], None)
    assert result.result_paths() == ["e/a.zarr", "e/b.zarr", "e/d.zarr", "e/my.zarr_v2/c.zarr", "e/z.nc"]


def test_health_is_read():
    """Status and time."""
    read = HealthStatus.from_dict({"status": "healthy", "timestamp": "2026-01-01T00:00:00+00:00"})
    assert read == HealthStatus("healthy", datetime(2026, 1, 1, tzinfo=UTC))
