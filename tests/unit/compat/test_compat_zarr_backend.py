"""The zarr backend for workflows that compute with NumPy alone."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from wildcast_server.compat.zarr_backend import ZarrBackend

LAT = np.array([60.0, 0.0, -60.0])
MEMBER = np.array([1, 2])
TIME = np.array(["2024-01-01T00", "2024-01-01T06"], dtype="datetime64[ns]")


@pytest.fixture
def backend(tmp_path):
    """A new store."""
    return ZarrBackend(tmp_path / "results.zarr")


@pytest.fixture
def opened(backend):
    """Open what was written, as its readers do."""
    return lambda: xr.open_zarr(backend.store.root, consolidated=False)


def test_what_was_never_written_is_nan(backend, opened):
    """An array without content holds NaN, not zero, until it is written."""
    backend.add_array({"lat": LAT}, ["t2m", "msl"])
    backend.write(np.float32([5]), {"lat": LAT[1:2]}, "t2m")
    with opened() as ds:
        np.testing.assert_equal(ds["t2m"].values, [np.nan, 5, np.nan])
        assert ds["msl"].isnull().all()
        assert ds["msl"].dtype == "float32"


def test_content_keeps_its_type(backend, opened):
    """Whole numbers, truth values and scalars are stored as they are."""
    backend.add_array({"lat": LAT}, ["count", "land"], data=[np.arange(3), np.array([True, False, True])])
    backend.add_array({}, "crs", data=np.int8(7))
    with opened() as ds:
        assert ds["count"].dtype == "int64"
        assert ds["land"].values.tolist() == [True, False, True]
        assert ds["crs"].item() == 7


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (TIME, "hours since 1970-01-01"),
        (TIME + np.timedelta64(1, "s"), "seconds since 1970-01-01"),
        (TIME + np.timedelta64(1, "ns"), "nanoseconds since 1970-01-01"),
        (np.array(["1950-01-01"], "datetime64[D]"), "hours since 1970-01-01"),
    ],
)
def test_times_are_whole_numbers_with_cf_units(backend, opened, values, units):
    """Any reader of zarr understands the times, and xarray returns them unchanged."""
    backend.add_array({"time": values}, "t2m")
    assert backend["time"].dtype == "int64"
    assert backend["time"].attrs["units"] == units
    assert np.array_equal(backend.coords["time"], values)
    with opened() as ds:
        assert np.array_equal(ds["time"].values, values)


def test_lead_times_are_durations(backend, opened):
    """Lead times come back as durations, whatever their unit is."""
    leads = np.arange(3) * np.timedelta64(90, "m")
    backend.add_array({"lead_time": leads}, "t2m")
    with opened() as ds:
        assert np.array_equal(ds["lead_time"].values, leads)


def test_names_are_coordinates_too(backend, opened):
    """A dimension of texts, such as the variables', can be written by them."""
    backend.add_array({"variable": np.array(["t2m", "msl"])}, "mean")
    backend.write(np.float32([1]), {"variable": ["msl"]}, "mean")
    with opened() as ds:
        assert ds["mean"].sel(variable="msl") == 1


def test_steps_are_chunks_and_maps_are_not_divided(backend):
    """A time, a lead time, a member is a chunk; maps are whole; and both can be chosen."""
    coords = {"time": TIME, "lead_time": np.arange(4), "lat": LAT}
    backend.add_array(coords, "t2m")
    assert backend["t2m"].chunks == (1, 1, 3)
    backend.chunks = {"lat": 2, "time": 99}
    backend.add_array(coords, "msl")
    assert backend["msl"].chunks == (2, 4, 2)


def test_adding_again_changes_nothing(backend):
    """An array that is there keeps its content."""
    backend.add_array({"lat": LAT}, "t2m", data=np.ones(3))
    backend.add_array({"lat": LAT}, "t2m")
    assert backend["t2m"][:].tolist() == [1, 1, 1]


def test_writing_adds_what_is_missing(backend):
    """An array that was not announced is made by its first content."""
    backend.write([np.arange(3), np.ones(3, "float32")], {"lat": LAT}, ["a", "b"])
    assert backend["a"].dtype == "int64"
    assert backend["b"][:].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda b: b.write(np.ones(1), {"lat": [12.0]}, "t2m"), r"\[12.\] of 'lat' are in the store"),
        (lambda b: b.write(np.ones(1), {"lon": [12.0]}, "t2m"), r"'t2m' has the dimensions \('lat',\)"),
        (lambda b: b.write([np.ones(3)] * 2, {"lat": LAT}, "t2m"), r"2 contents for 1 names \(t2m\)"),
        (lambda b: b.add_array({"lat": LAT}, "x", data=np.ones(2)), r"'x' has the shape \(2,\).* have \(3,\)"),
        (lambda b: b.write(np.ones((3, 1)), {"lat": LAT}, "t2m"), r"'t2m' has the shape \(3, 1\).* have \(3,\)"),
        (lambda b: b.write(np.ones(()), {"lat": LAT}, "t2m"), r"'t2m' has the shape \(\).* have \(3,\)"),
        (
            lambda b: b.write(np.ones((3, 2)), {"lat": LAT, "member": MEMBER}, "map"),
            r"'map' has the dimensions \('member', 'lat'\)",
        ),
        (lambda b: b.write(np.ones(2), {"member": MEMBER}, "map"), r"'map' has the dimensions .* not \('member',\)"),
        (
            lambda b: b.read({"lat": LAT, "member": MEMBER}, "map"),
            r"'map' has the dimensions \('member', 'lat'\), in this order",
        ),
        (lambda b: b.add_array({"lat": np.ones((2, 2))}, "x"), "'lat' has 2 dimensions"),
        (lambda b: b.add_array({"time": TIME[[0, 1, 0]]}, "x"), "the coordinate 'time' has a value twice"),
    ],
)
def test_what_does_not_fit_is_refused(backend, call, sentence):
    """Coordinates that are not the array's, and content of another number or shape, is an error with names in it."""
    backend.add_array({"lat": LAT}, "t2m")
    backend.add_array({"member": MEMBER, "lat": LAT}, "map")
    with pytest.raises(ValueError, match=sentence):
        call(backend)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_content_lands_at_its_coordinates(data):
    """Whatever part of the coordinates is written, in any order: that is what changes, and nothing else."""
    x = np.array(data.draw(st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True)))
    y = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=1, max_size=5, unique_by=lambda v: v + 0.0)))
    some_x = np.array(data.draw(st.lists(st.sampled_from(list(x)), min_size=1, unique=True)))
    some_y = np.array(data.draw(st.lists(st.sampled_from(list(y)), min_size=1, unique=True)))
    expected = {(i, j): -1.0 for i in x for j in y}
    content = np.arange(some_x.size * some_y.size, dtype="float64").reshape(some_x.size, some_y.size)
    with TemporaryDirectory() as directory:
        backend = ZarrBackend(Path(directory) / "x.zarr", chunks={"x": 2})
        backend.add_array({"x": x, "y": y}, "field", data=np.full((x.size, y.size), -1.0))
        backend.write(content, {"x": some_x, "y": some_y}, "field")
        expected |= {(i, j): content[m, n] for m, i in enumerate(some_x) for n, j in enumerate(some_y)}
        everything, _ = backend.read({"x": x, "y": y}, "field")
        part, _ = backend.read({"x": some_x, "y": some_y}, "field")
    assert {(i, j): everything[m, n] for m, i in enumerate(x) for n, j in enumerate(y)} == expected
    assert np.array_equal(part, content)
