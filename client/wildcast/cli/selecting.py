"""Which part of a variable is drawn: one or two of its dimensions, at one index of the others."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wildcast._errors import DatasetError
from wildcast.cli.durations import parse_duration
from wildcast.cli.invocation import refuse

if TYPE_CHECKING:
    import xarray as xr

PLANE = 2
"""Dimensions of what can be drawn at most."""

_SHOWN = 10

_HORIZONTAL = {
    "latitude": ({"lat", "latitude", "nav_lat", "xlat"}, {"degrees_north", "degree_north", "degrees_n"}),
    "longitude": ({"lon", "longitude", "nav_lon", "xlong"}, {"degrees_east", "degree_east", "degrees_e"}),
}


@dataclass(frozen=True)
class Selection:
    """What is drawn of a variable, and where it was taken."""

    array: "xr.DataArray"
    taken: tuple[str, ...] = field(default=())


def find_variable(dataset: "xr.Dataset", name: str) -> "xr.DataArray":
    """Return a variable that can be drawn.

    Raises
    ------
    DatasetError
        If there is none of that name.
    click.UsageError
        If it holds no numbers.
    """
    if name not in dataset.variables:
        there = ", ".join(map(str, dataset.data_vars)) or "none"
        raise DatasetError(f"There is no variable {name!r}; there are: {there}.")
    array = dataset[name]
    if array.dtype.kind not in "biufm":
        refuse(f"{name!r} holds no numbers, but {array.dtype}; it cannot be drawn.")
    return array


def select(array: "xr.DataArray", labels: Mapping[str, str], indices: Mapping[str, int]) -> Selection:
    """Take what is to be drawn: one or two dimensions, the others where one says, or at their first index.

    Raises
    ------
    click.UsageError
        If there is no such dimension, value or index.
    """
    taken = []
    for name, index in indices.items():
        position = _position(array, name, index)
        taken.append(_taken(array, name, position))
        array = array.isel({name: position})
    for name, text in labels.items():
        position = _nearest(array, name, text)
        taken.append(_taken(array, name, position))
        array = array.isel({name: position})
    drawn = _drawn(array)
    for other in [name for name in array.dims if name not in drawn]:
        remark = "" if array.sizes[other] == 1 else f" (the first of {array.sizes[other]})"
        taken.append(_taken(array, other, 0) + remark)
        array = array.isel({other: 0})
    return Selection(array, tuple(taken))


def _position(array: "xr.DataArray", name: str, index: int) -> int:
    size = _size(array, name)
    if not -size <= index < size:
        refuse(f"{name!r} has {size} values; the index {index} is none of them.")
    return index % size


def _size(array: "xr.DataArray", name: str) -> int:
    if name not in array.sizes:
        refuse(f"There is no dimension {name!r}; there are: {', '.join(map(str, array.dims)) or 'none'}.")
    return int(array.sizes[name])


def _nearest(array: "xr.DataArray", name: str, text: str) -> int:
    """Return the position of the value of a coordinate that is nearest to what was typed."""
    import numpy as np

    size = _size(array, name)
    if name not in array.indexes:
        refuse(f"{name!r} has no values to select by, only {size} indices; use --isel {name}=INDEX.")
    index = array.indexes[name]
    if index.dtype.kind in "OUST" and not hasattr(index, "date_type"):
        found = [position for position, value in enumerate(index) if str(value) == text]
        if not found:
            refuse(f"{name!r} has no value {text!r}; it has: {_listed(index)}.")
        return found[0]
    try:
        wanted = _as_value(index, text)
        if _horizontal(array, "longitude") == name:
            wanted = _turned(index, wanted)
        distances = np.abs(index.values - wanted)
        position = int(distances.argmin())
        is_far = size > 1 and distances[position] > np.abs(np.diff(index.values)).max()
    except (ValueError, TypeError):
        refuse(f"{text!r} is no value of {name!r}, which has values such as {index[0]}.")
    if is_far:
        refuse(f"{name!r} goes from {index[0]} to {index[-1]}; {text} is outside.")
    return position


def _turned(index: Any, wanted: float) -> float:
    """Return the same meridian as this axis counts it: from 0 to 360 degrees east, or from -180 to 180."""
    turns = (wanted, wanted + 360.0, wanted - 360.0)
    return min(turns, key=lambda turn: float(abs(index.values - turn).min()))


def _as_value(index: Any, text: str) -> Any:
    import numpy as np

    if index.dtype.kind == "M":
        return _as_moment(text)
    if index.dtype.kind == "m":
        after = parse_duration(text)
        if after is None:
            raise ValueError(text)
        return np.timedelta64(after)
    if hasattr(index, "date_type"):  # a calendar of cftime's
        year, month, day = (int(part) for part in (*text.partition("T")[0].split("-"), "1", "1")[:3])
        return index.date_type(year, month, day)
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(text)
    return value


def _as_moment(text: str) -> Any:
    import numpy as np

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        month = np.datetime64(text)  # or a year
        if np.isnat(month):
            raise
        return month
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment)


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN])
    return f"{shown}, …" if len(values) > _SHOWN else shown


def _taken(array: "xr.DataArray", name: Hashable, position: int) -> str:
    if name not in array.coords:
        return f"{name} #{position}"
    value = array.coords[name].to_numpy()[position]
    text = str(value)
    if array.coords[name].dtype.kind == "M":
        text = text.partition(".")[0].removesuffix("T00:00:00")
    elif array.coords[name].dtype.kind == "f":
        text = f"{value:g}"
    return f"{name}={text}"


def _drawn(array: "xr.DataArray") -> tuple[Hashable, ...]:
    """Return the dimensions that are drawn: the horizontal ones if there are any, else the last two."""
    dims = [name for name in array.dims if array.sizes[name] > 1]
    if (found := horizontal(array)) is not None:
        used = {*array[found[0]].dims, *array[found[1]].dims}
        if len(used & set(dims)) == PLANE:
            return tuple(name for name in dims if name in used)
    return tuple(dims[-PLANE:])


def horizontal(array: "xr.DataArray") -> tuple[Hashable, Hashable] | None:
    """Return the names of the coordinates that are longitude and latitude; None if there are no such two."""
    longitude, latitude = _horizontal(array, "longitude"), _horizontal(array, "latitude")
    return None if longitude is None or latitude is None else (longitude, latitude)


def _horizontal(array: "xr.DataArray", which: str) -> Hashable | None:
    names, units = _HORIZONTAL[which]
    for name, coordinate in array.coords.items():
        if not 1 <= coordinate.ndim <= PLANE:
            continue
        attributes = coordinate.attrs
        said = str(attributes.get("standard_name", "")), str(attributes.get("units", "")).lower()
        if said[0] == which or said[1] in units or str(name).lower() in names:
            return name
    return None
