"""A picture of a variable that one can tell it by: a map, a section, or a line."""

import io
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from wildcast.cli.invocation import refuse
from wildcast.cli.selecting import Selection, horizontal

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LONGEST = 2000
"""Points of one dimension that are drawn at most; of more, every second one, or third, and so on."""

_FEW = 50
"""Points of a line so few that each is marked."""

_DPI = 120
_TIMES = frozenset({"time", "valid_time"})


@dataclass(frozen=True)
class Picture:
    """A picture, and what is to be said about it."""

    png: bytes
    remarks: tuple[str, ...] = ()


def check_matplotlib() -> None:
    """Refuse to go on where nothing can draw.

    Raises
    ------
    click.ClickException
        If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise click.ClickException("A plot needs matplotlib: install the extra, with pip install 'wildcast[plot]'.")


def draw(selection: Selection, label: str) -> Picture:
    """Draw what was taken.

    Parameters
    ----------
    selection
        Of one or two dimensions.
    label
        Whose it is, for the title.
    """
    array, strides = _thinned(selection.array)
    if not array.ndim:
        refuse(f"{array.name!r} is a single value there, {array.to_numpy()}; there is nothing to draw.")
    array = _drawable(array.load())
    png = _png(array, "\n".join(_title(array, selection, strides, label)))
    remarks = () if array.count() else (f"All values of {array.name!r} are missing there.",)
    return Picture(png, remarks)


def _png(array: "xr.DataArray", title: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mpl.use("Agg")  # No display is looked for.
    buffer = io.BytesIO()
    # Names may have dollars, which are no formulas.
    with warnings.catch_warnings(), mpl.rc_context({"text.parse_math": False}):
        # A quick look is drawn as well as it goes: a font without a sign, or no limits where all is missing.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(9, 5), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _plot(array, axes)
        axes.set_title(title, fontsize=10)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _thinned(array: "xr.DataArray") -> tuple["xr.DataArray", dict[Hashable, int]]:
    strides = {name: -(-size // LONGEST) for name, size in array.sizes.items() if size > LONGEST}
    return array.isel({name: slice(None, None, stride) for name, stride in strides.items()}), strides


def _drawable(array: "xr.DataArray") -> "xr.DataArray":
    """Return the array with values and coordinates that matplotlib can place."""
    import numpy as np

    if array.dtype.kind == "m":
        array = (array / np.timedelta64(1, "h")).assign_attrs({**array.attrs, "units": "hours"})
    for name in list(array.dims):
        if name not in array.coords:
            continue
        coordinate = array.coords[name]
        if hasattr(array.indexes.get(name), "date_type"):
            array = array.assign_coords(
                {name: (name, [_year(value) for value in coordinate.to_numpy()], {"units": "year"})}
            )
        elif coordinate.dtype.kind == "m":
            hours = coordinate.to_numpy() / np.timedelta64(1, "h")
            array = array.assign_coords({name: (name, hours, {**coordinate.attrs, "units": "hours"})})
        elif coordinate.dtype.kind not in "biufM" or coordinate.count() < coordinate.size:
            array = array.drop_vars([name])
    return array


def _year(moment: Any) -> float:
    first = moment.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    last = first.replace(year=first.year + 1)
    return float(first.year + (moment - first) / (last - first))


def _plot(array: "xr.DataArray", axes: "Axes") -> None:
    if array.ndim == 1:
        array.plot.line(ax=axes, marker="." if array.size < _FEW else "")
        axes.grid(alpha=0.3)
        return
    first, second = array.dims
    across = horizontal(array)
    is_map = across is not None and {name for each in across for name in array[each].dims} == {first, second}
    if across is None or not is_map:
        across = (first, second) if str(first).lower() in _TIMES else (second, first)
    array.plot.pcolormesh(ax=axes, x=across[0], y=across[1])
    if is_map:
        axes.set_aspect("equal", adjustable="box")


def _title(array: "xr.DataArray", selection: Selection, strides: Mapping[Hashable, int], label: str) -> list[str]:
    long_name = array.attrs.get("long_name") or array.attrs.get("standard_name")
    name = f"{array.name}: {long_name}" if long_name and long_name != array.name else str(array.name)
    thinned = [f"every {stride}th point of {dim}" for dim, stride in strides.items()]
    where = ", ".join([*selection.taken, *thinned])
    return [text for text in (f"{name} ({label})", where) if text]
