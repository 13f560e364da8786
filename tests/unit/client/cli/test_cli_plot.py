"""What a quick look takes of a variable, and what it says about it."""

import warnings

import click
import numpy as np
import pytest
import xarray as xr

from wildcast.cli.quicklook import draw
from wildcast.cli.selecting import find_variable, horizontal, select

PNG = b"\x89PNG\r\n\x1a\n"


def field(**sizes: int) -> xr.DataArray:
    """An array of these dimensions, without coordinates."""
    values = np.arange(np.prod(list(sizes.values())), dtype="f8").reshape(list(sizes.values()))
    return xr.DataArray(values, dims=list(sizes), name="v")


def globe(**sizes: int) -> xr.DataArray:
    latitudes, longitudes = np.linspace(-90, 90, 5), np.linspace(0, 315, 8)
    return field(**sizes, lat=5, lon=8).assign_coords(lat=latitudes, lon=longitudes)


def drawn(array: xr.DataArray):
    """Draw an array; give what was selected and the picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selection = select(array, {}, {})
        picture = draw(selection, "exec_1")
    assert picture.png.startswith(PNG)
    return selection, picture


@pytest.mark.parametrize(
    ("array", "dims", "taken"),
    [
        (field(time=4), ("time",), ()),
        (field(y=4, x=5), ("y", "x"), ()),
        (globe(), ("lat", "lon"), ()),
        (globe(time=3), ("lat", "lon"), ("time #0 (the first of 3)",)),
        (globe(time=3, level=1), ("lat", "lon"), ("time #0 (the first of 3)", "level #0")),
        (globe(time=3).transpose("lat", "lon", "time"), ("lat", "lon"), ("time #0 (the first of 3)",)),
        (field(a=2, b=3, c=4), ("b", "c"), ("a #0 (the first of 2)",)),
        (field(time=3, point=1), ("time",), ("point #0",)),
    ],
)
def test_maps_come_first_and_then_the_last_dimensions(array, dims, taken):
    """Whatever is taken at its first index is named."""
    selection = select(array, {}, {})
    assert (selection.array.dims, selection.taken) == (dims, taken)


@pytest.mark.parametrize(
    "array",
    [field(time=4), field(time=3, y=4), globe(), field(x=3).assign_attrs(long_name=r"a $\nothing$ b")],
    ids=["line", "section", "map", "no formula"],
)
def test_lines_sections_and_maps_are_drawn(array):
    """Without a warning; a dollar in a name is a dollar."""
    assert drawn(array)[1].remarks == ()


def test_coordinates_are_known_by_names_units_and_standard_names():
    """As the CF conventions have them; a grid that is turned has planes of them."""
    array = field(y=3, x=4)
    plane = (("y", "x"), np.arange(12.0).reshape(3, 4))
    assert horizontal(array) is None
    assert horizontal(globe()) == ("lon", "lat")
    turned = array.assign_coords(a=(*plane, {"units": "degrees_north"}), b=(*plane, {"standard_name": "longitude"}))
    assert horizontal(turned) == ("b", "a")
    drawn(turned)


@pytest.mark.parametrize(
    ("typed", "taken"), [("-90", "lon=270"), ("270", "lon=270"), ("-45", "lon=315"), ("-359", "lon=0")]
)
def test_a_meridian_is_one_however_it_is_counted(typed, taken):
    """West of Greenwich is negative for some and beyond 180 for others; the grid has its own way."""
    assert select(globe(), {"lon": typed}, {}).taken[0] == taken


def test_what_lies_outside_is_refused():
    """The nearest place of another continent is not what was asked for."""
    region = globe().isel(lon=slice(0, 3), lat=slice(2, 4))
    with pytest.raises(click.UsageError, match=r"'lon' goes from 0\.0 to 90\.0; 200 is outside"):
        select(region, {"lon": "200"}, {})
    with pytest.raises(click.UsageError, match="is outside"):
        select(region, {"lat": "-89"}, {})


@pytest.mark.parametrize(
    ("values", "text", "position"),
    [
        (np.array([500.0, 850.0]), "700", 1),
        (np.array([1, 2, 3]), "2", 1),
        (np.array(["a", "bc"]), "bc", 1),
        (np.array(["2026-01-01", "2026-02-01"], "datetime64[ns]"), "2026-01-28T00:00:00Z", 1),
        (np.array(["2026-01-01", "2026-02-01"], "datetime64[ns]"), "2026-01-01T01:00:00+01:00", 0),
        (np.array(["2026-01-01", "2027-02-01"], "datetime64[ns]"), "2027", 1),
        (np.array([0, 6, 12], "timedelta64[h]").astype("timedelta64[ns]"), "5h", 1),
    ],
)
def test_the_nearest_value_is_taken(values, text, position):
    """Of numbers, times and time differences; a text has to be there."""
    array = field(k=len(values), x=3).assign_coords(k=values)
    selection = select(array, {"k": text}, {})
    assert selection.array.identical(array.isel(k=position))
    assert selection.taken[0].startswith("k=")


def test_the_calendars_of_climate_models_are_understood():
    """A year of 360 days has its own dates, by which one selects, and along which a line is drawn."""
    cftime = pytest.importorskip("cftime")
    times = [cftime.Datetime360Day(2000, month, 30) for month in range(1, 13)]
    array = field(time=12, x=3).assign_coords(time=times)
    selection = select(array, {"time": "2000-02-30"}, {})
    assert selection.array.identical(array.isel(time=1))
    drawn(array.isel(x=0))


@pytest.mark.parametrize("text", ["once", "nan", "NaT", ""])
@pytest.mark.parametrize("kind", ["f8", "datetime64[ns]", "timedelta64[ns]", "U3"])
def test_what_is_no_value_is_refused(kind, text):
    """With the dimension's name, and never as the first one."""
    array = field(k=2).assign_coords(k=np.array([1, 2]).astype(kind))
    with pytest.raises(click.UsageError, match="'k'"):
        select(array, {"k": text}, {})


def test_indices_count_from_the_end_too():
    """As everywhere in Python."""
    selection = select(globe(time=3), {}, {"time": -1})
    assert selection.taken == ("time #2",)


def test_large_fields_are_thinned():
    """So that a quick look stays one; the original is not read as a whole."""
    _, picture = drawn(field(y=4500, x=3))
    assert len(picture.png) < 1_000_000


def test_what_is_missing_is_said():
    """A picture of nothing is explained."""
    _, picture = drawn(globe() * np.nan)
    assert "missing" in picture.remarks[0]


@pytest.mark.parametrize("dtype", ["bool", "timedelta64[ns]"])
def test_other_numbers_are_drawn(dtype):
    """Flags and time differences, along names and along time differences."""
    array = field(lead=4, name=3).astype("int64").astype(dtype)
    drawn(array.assign_coords(name=["a", "b", "c"], lead=np.arange(4).astype("timedelta64[h]").astype("m8[ns]")))


def test_texts_and_records_are_refused():
    """With their kind."""
    with pytest.raises(click.UsageError, match="no numbers"):
        find_variable(xr.Dataset({"v": ("x", np.array(["a"]))}), "v")
