"""The example workflow `shallow_water`: what a simulated day costs, and how the energy drifts with the time step.

python benchmarks/shallow_water.py [--picture docs/shallow-water.png [--resolution T106]]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from wildcast_server.demo import examples
from wildcast_server.domain.discovery import discover

DAY = 86400.0


def load() -> ModuleType:
    """Return the workflow's module, loaded as the service does."""
    return sys.modules[discover([examples()]).registry.get("shallow_water").__module__]


def seconds_a_day(model: Any, state: Any, steps: int = 7) -> float:
    """Time single steps; return what a simulated day of the median costs."""
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        state = model.advance(state, model.time_step)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * DAY / model.time_step


def print_costs(module: ModuleType) -> None:
    """Print the table of resolutions."""
    print("| resolution | grid | time step, s | s a simulated day |\n| --- | --- | --- | --- |")
    for truncation in (42, 63, 85, 106, 170):
        model = module.ShallowWater(module.SphericalHarmonics(truncation))
        grid = f"{model.sphere.nlat} x {model.sphere.nlon}"
        cost = seconds_a_day(model, module.jet(model))
        print(f"| T{truncation} | {grid} | {model.time_step:.0f} | {cost:.1f} |")


def print_drifts(module: ModuleType) -> None:
    """Print the table of time steps: a quarter of a day of the jet at T42, without diffusion."""
    print("\n| time step, s | relative drift of energy | of mass |\n| --- | --- | --- |")
    sphere = module.SphericalHarmonics(42)
    for time_step in (600, 300, 150):
        model = module.ShallowWater(sphere, time_step, float("inf"))
        state = module.jet(model)
        before, after = model.fields(state), model.fields(model.advance(state, DAY / 4))
        energy, mass = (total(after) / total(before) - 1 for total in (model.energy, model.mass))
        print(f"| {time_step} | {energy:.1e} | {mass:.1e} |")


def draw(module: ModuleType, truncation: int, picture: Path) -> None:
    """Forecast six days and draw the relative vorticity of the last three."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    model = module.ShallowWater(module.SphericalHarmonics(truncation))
    start = model.fields(state := module.jet(model))
    state = model.advance(state, 3 * DAY)
    longitude, latitude = np.rad2deg(model.sphere.longitude), np.rad2deg(model.sphere.latitude[:, 0])
    figure = Figure(figsize=(9, 7.2), layout="constrained")
    for day, axes in zip((4, 5, 6), figure.subplots(3, 1, sharex=True), strict=True):
        state = model.advance(state, DAY)
        fields = model.fields(state)
        vorticity = 1e5 * fields["vorticity"]
        shown = axes.contourf(longitude, latitude, vorticity, np.arange(-15, 16, 2), cmap="RdBu_r", extend="both")
        axes.set(title=f"day {day}", ylim=(10, 80), xlim=(0, 359), ylabel="latitude (°N)")
        drift = model.energy(fields) / model.energy(start) - 1
        print(f"day {day}: {vorticity.min():.1f} … {vorticity.max():.1f} 1e-5/s, energy drift {drift:.1e}")
    axes.set_xlabel("longitude (°E)")
    figure.colorbar(shown, ax=figure.axes, label="relative vorticity (1e-5 s-1)")
    FigureCanvasAgg(figure).print_figure(str(picture), dpi=90)


def main() -> None:
    """Print the tables, or draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--resolution", default="T106")
    arguments = parser.parse_args()
    module = load()
    if arguments.picture:
        draw(module, int(arguments.resolution[1:]), arguments.picture)
    else:
        print_costs(module)
        print_drifts(module)


if __name__ == "__main__":
    main()
