"""Workflows that stream their output."""

import os
import signal

from wildcast_server import RunContext, workflow


def _dataset(start: int, count: int):
    import numpy as np
    import xarray as xr

    values = np.random.default_rng(start).normal(size=(count, 40, 50)).astype("f4")
    return xr.Dataset({"t2m": (("time", "y", "x"), values)}, coords={"time": np.arange(start, start + count)})


@workflow
def streams(context: RunContext, pieces: int = 700, zarr_format: int = 3) -> None:
    """Stream a long binary file in small pieces, a netCDF file and a zarr store that grows."""
    import warnings

    with context.open("raw/field.bin") as file:
        for number in range(pieces):
            file.write(number.to_bytes(4, "little") * 5000)
    with context.open("forecast.nc") as file:
        file.write(_dataset(0, 3).to_netcdf(engine="h5netcdf"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = context.zarr_store("forecast.zarr")
        _dataset(0, 3).to_zarr(store, encoding={"t2m": {"chunks": (2, 40, 50)}}, zarr_format=zarr_format)
        _dataset(3, 3).to_zarr(store, append_dim="time")
    found = (path for path in context.output_directory.rglob("*") if path.is_file())
    context.progress(on_disk=sorted(path.relative_to(context.output_directory).as_posix() for path in found))


@workflow
def streams_and_fails(context: RunContext) -> None:
    """Finish one file, leave another open in the middle of its upload, and raise."""
    with context.open("whole.bin") as file:
        file.write(bytes(1000))
    context.open("half.bin").write(bytes(30_000_000))
    raise ArithmeticError("no convergence")


@workflow
def forgets_to_close(context: RunContext) -> None:
    """Leave a file open."""
    context.open("forgotten.nc").write(bytes(30_000_000))


@workflow
def streams_one_file(context: RunContext) -> None:
    """Leave the output directory empty."""
    with context.open("only.bin") as file:
        file.write(b"stream")


@workflow
def streams_and_is_killed(context: RunContext) -> None:
    """Die in the middle of an upload, with an object and a chunk written."""
    with context.open("whole.bin") as file:
        file.write(bytes(1000))
    context.open("half.bin").write(bytes(30_000_000))
    os.kill(os.getpid(), signal.SIGKILL)
