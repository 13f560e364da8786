"""A forecast of our own, from the request to the open dataset, with either storage type."""

from datetime import UTC, datetime

import numpy as np
import pytest

SHORT = {"start_time": datetime(2026, 1, 1, tzinfo=UTC), "nsteps": 2, "output_interval": 1}


@pytest.mark.parametrize(
    "in_object_storage", [pytest.param(True, id="s3"), pytest.param(False, id="server", marks=pytest.mark.long)]
)
def test_a_forecast_is_submitted_and_read(start, pytestconfig, in_object_storage):
    """The initial state and both steps are there, balanced at the start, whoever serves the files."""
    directory = pytestconfig.rootpath / "server/example_workflows"
    running = start(**{"workflows.directories": [directory], "object_storage.enabled": in_object_storage})
    result = running.client.submit("shallow_water", **SHORT).wait(timeout=100, progress=False)
    assert result.metadata.storage_type == ("s3" if in_object_storage else "server")
    with result.open_dataset() as ds:
        assert list(ds["time"].values) == list(np.arange("2026-01-01T00", "2026-01-01T03", dtype="datetime64[h]"))
        assert float(ds["u"].isel(time=0).max()) == pytest.approx(80, abs=3)
        assert float(ds["h"].mean()) == pytest.approx(10_000, rel=0.05)


def test_the_metadata_tell_what_ran(start, pytestconfig):
    """Parameters with their defaults, versions, the workflow file's hash, host, memory and times are recorded."""
    directory = pytestconfig.rootpath / "server/example_workflows"
    running = start(**{"workflows.directories": [directory]})
    execution = running.client.submit("shallow_water", **SHORT)
    metadata = execution.wait(timeout=100, progress=False).metadata
    assert metadata.parameters["resolution"] == "T42"
    ran = metadata.provenance
    assert len(ran.workflow_sha256) == 64
    assert metadata.peak_memory_usage == ran.peak_memory_bytes > 1_000_000
    assert metadata.device == ran.device == "cpu"
    assert 0 < ran.compute_seconds + ran.publish_seconds <= metadata.execution_time_seconds + 0.01
