"""What a runner's process imports before it is told what to run."""

import subprocess
import sys

import pytest

HEAVY = ["numpy", "zarr", "xarray", "torch", "sqlalchemy", "fastapi", "uvicorn", "obstore"]


@pytest.mark.parametrize("module", ["wildcast_server.jobs", "wildcast_server.jobs.runner_process"])
def test_nothing_heavy_is_imported_for_nothing(module):
    """Every process that runs or tries out workflows starts with this import; libraries come with the workflows."""
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
