"""Output that goes straight to the object store: from a workflow's `write` to an open dataset."""

import time
import uuid
from contextlib import closing

import boto3
import numpy as np
import pytest
import xarray as xr
from tests.acceptance.conftest import Starter

from wildcast.contract.naming import is_metadata
from wildcast_server.transfer.mark import MARK_PATH
from wildcast_server.wiring.publishing import build_store

PIECES = 700
FILES = {"raw/field.bin", "forecast.nc"}


def dataset():
    """Return what the workflow `streams` writes into its zarr store."""
    parts = [np.random.default_rng(start).normal(size=(3, 40, 50)).astype("f4") for start in (0, 3)]
    return xr.Dataset({"t2m": (("time", "y", "x"), np.concatenate(parts))}, coords={"time": np.arange(6)})


def start_s3(start, s3_endpoint):
    """Start a stack whose store is a fresh bucket."""
    bucket = f"streaming-{uuid.uuid4().hex[:16]}"
    with closing(boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")) as client:
        client.create_bucket(Bucket=bucket)
    credentials = {"object_storage.access_key_id": "testing", "object_storage.secret_access_key": "canary-testing"}
    return start(
        **{
            "results.keep_local_output": True,
            "object_storage.bucket": bucket,
            "object_storage.endpoint_url": s3_endpoint,
            "object_storage.use_transfer_acceleration": False,
            "object_storage.multipart_chunksize": 5 << 20,
            **credentials,
        }
    )


@pytest.fixture(scope="module", params=["file", "s3"])
def streaming(request, forks, tmp_path_factory):
    """Give a stack over a store of files, and one over S3, that keep their output directories to be looked at."""
    starter = Starter(tmp_path_factory.mktemp(request.param), forks)
    if request.param == "s3":
        yield start_s3(starter, request.getfixturevalue("s3_endpoint"))
    else:
        yield starter(**{"results.keep_local_output": True})
    starter.close()


@pytest.fixture(scope="module")
def published(streaming):
    """What the workflow `streams` published."""
    execution = streaming.client.submit("streams", pieces=PIECES)
    return execution, execution.wait(timeout=60, progress=False)


def test_every_byte_is_the_workflows(published, tmp_path):
    """A file of many small pieces, which took several parts, is what was written."""
    _, result = published
    data = result.download_file("raw/field.bin", tmp_path).read_bytes()
    assert data == b"".join(number.to_bytes(4, "little") * 5000 for number in range(PIECES))


def test_the_datasets_open_with_xarray(published, tmp_path):
    """The zarr store through its signed URL, and the netCDF file once it is downloaded."""
    _, result = published
    with result.open_dataset("forecast.zarr") as opened:
        xr.testing.assert_identical(opened.load(), dataset())
    file = result.download_file("forecast.nc", tmp_path)
    with xr.open_dataset(file, engine="h5netcdf") as opened:
        xr.testing.assert_identical(opened.load(), dataset().isel(time=slice(3)))


def test_nothing_but_documents_was_on_the_local_disk(streaming, published):
    """Neither when the workflow ended nor afterwards; and all of it is in the manifest."""
    execution, result = published
    on_disk = execution.status().progress["on_disk"]
    assert "forecast.zarr/zarr.json" in on_disk
    assert all(is_metadata(path) for path in on_disk)
    directory = streaming.output_directory(execution)
    kept = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert all(is_metadata(path) for path in kept)
    names = {file.path.removeprefix(f"{execution.id}/") for file in result.files}
    assert names >= {*FILES, *kept} - {MARK_PATH}
    assert MARK_PATH not in names
    assert {name for name in names if not is_metadata(name)} > FILES


def assert_swept(running, execution):
    """Show that the store has neither an object nor an upload of an execution, now or soon."""
    store, prefix = build_store(running.stack._settings), f"outputs/{execution.id}"
    deadline = time.monotonic() + 20
    while left := [*store.list(prefix), *store.unfinished_uploads(prefix)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("workflow", "reason"),
    [
        ("streams_and_fails", "ArithmeticError: no convergence"),
        ("forgets_to_close", "forgotten.nc was opened with context.open and never closed"),
        ("streams_and_is_killed", "the process that ran the workflow"),
    ],
)
def test_what_failed_leaves_nothing(streaming, workflow, reason):
    """No object, no multipart upload; the reason is in the record."""
    execution, message = streaming.failure(workflow)
    assert reason in message
    assert_swept(streaming, execution)
    streaming.assert_alive()


def test_a_single_streamed_file_is_a_result(streaming):
    """An output directory that stayed empty is no failure, if something was streamed."""
    execution = streaming.client.submit("streams_one_file")
    result = execution.wait(timeout=60, progress=False)
    assert [(file.path, file.size) for file in result.files] == [(f"{execution.id}/only.bin", 6)]


def test_without_object_storage_output_is_on_disk(shared):
    """The same workflow, where the service itself serves the results."""
    running = shared("server")
    execution = running.client.submit("streams", pieces=PIECES)
    execution.wait(timeout=60, progress=False)
    assert (running.output_directory(execution) / "raw/field.bin").stat().st_size == PIECES * 20_000
    with xr.open_zarr(running.output_directory(execution) / "forecast.zarr") as opened:
        xr.testing.assert_identical(opened.load(), dataset())
