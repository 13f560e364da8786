"""The main job, end to end, on the embedded defaults: a real dataset from a request to an open, checked xarray.

Everything is real: the API, the worker and its runner process, the object store, the signature and the edge that
checks it. Only the addresses are this machine's.
"""

import json
import time
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np
import xarray as xr

import wildcast
from wildcast.contract.policy import shorten_signature
from wildcast_server.settings import Settings, load_settings
from wildcast_server.wiring.stack import Stack

WORKFLOW = "netcdf_to_zarr"
SOURCE = "E1_north_america.nc"
VARIABLE = "air_temperature"
SHOWN_FILES = 3


def demo_settings(directory: Path) -> Settings:
    """Return the embedded defaults, whatever is configured elsewhere: everything in `directory`, on free ports."""
    values = {
        "data_dir": directory.absolute(),
        "log.level": "warning",
        "api.port": 0,
        "edge.port": 0,
        "workflows.directories": [examples()],
        "object_storage.enabled": True,
    }
    return load_settings(values, environ={}, cwd=directory.absolute()).settings


def examples() -> Path:
    """Return the directory of the example workflows: inside the package once installed, beside it in a checkout."""
    here = Path(__file__).parent
    return next(path for path in (here / "example_workflows", here.parent / "example_workflows") if path.is_dir())


def run_demo(settings: Settings, out: TextIO) -> Path:
    """Run the demo and return the picture's path.

    Parameters
    ----------
    settings
        As `demo_settings` makes them.
    out
        Where the story is told.

    Raises
    ------
    WildcastServerError, wildcast.WildcastError
        If any step fails.
    AssertionError
        If a value read through the signed URL differs from the source's.
    """
    started = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", file=out, flush=True)

    tell("starting API, worker and edge")
    with Stack(settings) as stack, wildcast.Client(stack.api_url) as client:
        tell(f"API at {stack.api_url}, edge at {stack.edge_url}")
        execution = client.submit(WORKFLOW, source=SOURCE)
        tell(f"submitted {execution.id}: {WORKFLOW}(source={SOURCE!r})")
        result = execution.wait(progress="auto")
        tell("published; this is the result's metadata:")
        print(_shown(result.metadata), file=out)
        tell("opening it with xr.open_zarr through the signed URL")
        mapper = wildcast.create_cloudfront_mapper(result.signed_url or "", result.datasets[0].path)
        with xr.open_zarr(mapper, consolidated=True) as published, xr.open_dataset(source_file()) as source:
            xr.testing.assert_identical(published.load(), source.load())
            tell(f"{_values(published)} values, coordinates and attributes are identical to the source's")
            trend, picture = _warming(published, settings.data_dir / "warming.png")
    tell(f"mean warming, {trend.years}: {trend.kelvin_per_decade:+.3f} K per decade")
    tell(f"picture: {picture.resolve()}")
    return picture


def source_file() -> Path:
    """Return the climate projection that the package iris-sample-data brings."""
    import iris_sample_data

    return Path(iris_sample_data.path) / SOURCE


def _shown(metadata: Any) -> str:
    plain = msgspec.to_builtins(metadata)
    plain["signed_url"] = shorten_signature(plain["signed_url"])
    files = plain["output_files"]
    plain["output_files"] = [*files[:SHOWN_FILES], f"… and {len(files) - SHOWN_FILES} more"]
    return json.dumps(plain, indent=2, ensure_ascii=False)


def _values(dataset: xr.Dataset) -> str:
    return f"{sum(variable.size for variable in dataset.variables.values()):,}"


class _Trend(msgspec.Struct, frozen=True):
    years: str
    kelvin_per_decade: float


def _warming(dataset: xr.Dataset, picture: Path) -> tuple[_Trend, Path]:
    """Fit a line through each grid cell's and the region's yearly means, and draw both."""
    temperature = dataset[VARIABLE].transpose("time", "latitude", "longitude").values
    years = np.array([moment.year for moment in dataset["time"].values])
    # A cell's area shrinks with the cosine of its latitude.
    areas = np.cos(np.deg2rad(dataset["latitude"].values))
    region = np.average(temperature.mean(axis=2), axis=1, weights=areas)
    slope, intercept = np.polyfit(years, region, 1)
    cells = np.polyfit(years, temperature.reshape(len(years), -1), 1)[0].reshape(temperature.shape[1:])
    trend = _Trend(years=f"{years[0]}-{years[-1]}", kelvin_per_decade=10 * float(slope))
    _draw(picture, dataset, 10 * cells, (years, region, slope * years + intercept), trend)
    return trend, picture


def _draw(
    picture: Path,
    dataset: xr.Dataset,
    cells: np.ndarray[Any, Any],
    series: tuple[np.ndarray[Any, Any], ...],
    trend: _Trend,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    mesh = left.pcolormesh(dataset["longitude"].values - 360, dataset["latitude"].values, cells, cmap="YlOrRd")
    left.set(title=f"Warming of surface air, {trend.years}", xlabel="longitude (°E)", ylabel="latitude (°N)")
    figure.colorbar(mesh, ax=left, label="K per decade")
    years, means, line = series
    right.plot(years, means, color="0.6", linewidth=0.9, label="yearly mean of the region")
    right.plot(years, line, color="firebrick", label=f"{trend.kelvin_per_decade:+.3f} K per decade")
    right.set(title="North America, scenario E1", xlabel="year", ylabel="temperature (K)")
    right.legend(frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_figure(str(picture), dpi=110)
