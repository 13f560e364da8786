"""The file that the documentation shows to authors."""

import re

import xarray as xr


def test_the_documented_file_runs_as_written(load_one, run_here, pytestconfig):
    """What docs/earth2studio.md shows loads from a directory, and writes what it says."""
    text = (pytestconfig.rootpath / "docs/earth2studio.md").read_text(encoding="utf-8")
    source = re.search(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    workflow = load_one(source)
    assert workflow.name == "drift"
    output, progress = run_here(workflow, {"rate": 2}, num_steps=1)
    with xr.open_zarr(output / "results.zarr", consolidated=False) as ds:
        assert ds["t2m"].isel(time=0, lat=0).values.tolist() == [273, 275]
    assert (progress[-1]["current_step"], progress[-1]["total_steps"]) == (2, 2)
