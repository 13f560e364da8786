"""Workflows that are watched while they run."""

import time
import warnings
from pathlib import Path

from wildcast_server import RunContext, workflow


def _wait_for(context: RunContext, path: Path) -> None:
    while not path.exists():
        context.check_cancelled()
        time.sleep(0.02)


@workflow
def writes_in_two_halves(context: RunContext, gate: str, rewrite: bool = False) -> None:
    """Write half of a zarr store, wait for the gate, and write the other half; rewrite the first one if told to."""
    import numpy as np
    import xarray as xr

    store = context.output_directory / "forecast.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoding = {"t": {"chunks": (3,)}}
        halves = [xr.Dataset({"t": ("time", np.arange(start, start + 3.0))}) for start in (0, 3)]
        halves[0].to_zarr(store, encoding=encoding, zarr_format=2, consolidated=True)
        context.progress(1, 2)
        _wait_for(context, Path(gate))
        if rewrite:
            (halves[0] + 100).to_zarr(store, mode="r+", consolidated=True)
        halves[1].to_zarr(store, append_dim="time", consolidated=True)
        context.progress(2, 2)
