"""The example workflow: netCDF to zarr."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from wildcast_server import ExecutionCancelledError, RunContext
from wildcast_server.domain.discovery import discover_file
from wildcast_server.domain.parameters import validate
from wildcast_server.errors import InvalidParametersError
from wildcast_server.jobs import Runner, RunRequest

DIRECTORY = Path(__file__).parents[3] / "server" / "example_workflows"
PROJECTION = "E1_north_america.nc"
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


@pytest.fixture(scope="module")
def workflow_class():
    """Find the workflow as the server does."""
    found = discover_file(DIRECTORY / "netcdf_to_zarr.py")
    assert found.failures == ()
    return found.registry.get("netcdf_to_zarr")


@pytest.fixture
def convert(workflow_class, tmp_path):
    """Convert a file and return the store's path; warnings are errors here."""

    def call(source: str, *, roots=None, on_progress=None, is_cancelled=None, **parameters: object) -> Path:
        config = workflow_class.Config() if roots is None else workflow_class.Config(roots=roots)
        target = tmp_path / "output"
        target.mkdir(exist_ok=True)
        context = RunContext("exec_1_00000000", target, on_progress=on_progress, is_cancelled=is_cancelled)
        workflow_class(config).run(validate(workflow_class, {"source": str(source), **parameters}), context)
        (store,) = target.iterdir()
        return store

    return call


@pytest.fixture(scope="module")
def samples(workflow_class):
    """Where the sample files are."""
    (directory,) = workflow_class.Config().roots
    return directory


def assert_same(source, store):
    with xr.open_dataset(source, engine="h5netcdf") as want, xr.open_zarr(store, consolidated=True) as got:
        xr.testing.assert_identical(got.load(), want.load())


@FORMATS
@pytest.mark.parametrize("name", [PROJECTION, "ostia_monthly.nc", "NEMO/nemo_1m_20150101-20150201_grid-T.nc"])
def test_a_real_file_comes_through_whole(convert, samples, name, zarr_format):
    """Every value, attribute and coordinate of a real file is in the store (360-day calendar, packed values, masks)."""
    assert_same(samples / name, convert(name, zarr_format=zarr_format))


@FORMATS
def test_odd_encodings_come_through(convert, tmp_path, zarr_format):
    """Packed integers with fill values, unsigned bytes, text, times without a calendar, scalars, empty dimensions."""
    values = np.linspace(-5, 5, 40 * 60 * 20).reshape(40, 60, 20)
    values[3, 4, 5] = np.nan
    dataset = xr.Dataset(
        {
            "packed": (("time", "y", "x"), values, {"units": "K", "valid": np.float32(1.5)}),
            "plain": (("time", "y", "x"), values),
            "names": ("y", np.array([f"näme {i}" for i in range(60)], dtype=object)),
            "flags": (("time", "y"), np.full((40, 60), 255, "u1")),
            "scalar": ((), 7),
            "nothing": (("none", "y"), np.zeros((0, 60))),
            "lead": ("time", np.arange(40).astype("timedelta64[h]").astype("timedelta64[ns]")),
        },
        coords={"time": np.datetime64("2026-01-01", "ns") + np.arange(40).astype("timedelta64[h]")},
        attrs={"title": "ü", "numbers": [1.0, 2.0]},
    )
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 1.0, "_FillValue": -32768}
    dataset.to_netcdf(tmp_path / "odd.nc", engine="h5netcdf", encoding={"packed": packing})
    store = convert("odd.nc", roots=[tmp_path], zarr_format=zarr_format)
    assert_same(tmp_path / "odd.nc", store)
    raw = xr.open_zarr(store, mask_and_scale=False)["packed"]
    assert raw.dtype == "i2"


def test_progress_is_true(convert):
    """Steps go up by one to the total, and the time blocks are counted."""
    progress = []
    convert(PROJECTION, on_progress=progress.append)
    assert [update["current_step"] for update in progress] == list(range(23))
    assert {update["total_steps"] for update in progress} == {22}
    assert [update.get("variable") for update in progress].count("air_temperature") == 20


def test_the_default_chunks_are_a_year(convert):
    """Twelve months are a chunk, and a coordinate is one."""
    with xr.open_zarr(convert(PROJECTION)) as dataset:
        assert dataset["air_temperature"].encoding["chunks"] == (12, 37, 49)
        assert dataset["time"].encoding["chunks"] == (240,)


def test_chunks_may_be_chosen(convert, samples):
    """Chunks along any dimensions, longer than them or not dividing them, hold the same values."""
    store = convert(PROJECTION, chunks={"time": 1000, "latitude": 10, "longitude": 7})
    with xr.open_zarr(store) as dataset:
        assert dataset["air_temperature"].encoding["chunks"] == (240, 10, 7)
    assert_same(samples / PROJECTION, store)


@pytest.mark.parametrize(
    ("name", "variable"), [("NEMO/nemo_1m_20150101-20150201_grid-T.nc", "tos"), (PROJECTION, "air_temperature")]
)
def test_variables_bring_what_belongs_to_them(convert, samples, name, variable):
    """A chosen variable comes with its coordinates, bounds and grid mapping."""
    store = convert(name, variables=[variable])
    with xr.open_zarr(store) as got, xr.open_dataset(samples / name, engine="h5netcdf") as want:
        xr.testing.assert_identical(got.load(), want.load())


def test_variables_leave_the_others_out(convert):
    """What no chosen variable refers to is not converted."""
    store = convert(PROJECTION, variables=["time"])
    with xr.open_zarr(store) as got:
        assert set(got.variables) == {"time", "time_bnds"}


def test_the_store_may_be_named(convert):
    """`output` names the store; the default is the source's name."""
    assert convert(PROJECTION, output="climate.zarr").name == "climate.zarr"


@pytest.mark.parametrize("output", ["x", "../x.zarr", "a/b.zarr", ".x.zarr", "/x.zarr", "x.zarr\n", "a\0.zarr"])
def test_a_name_that_leaves_the_directory_is_refused(workflow_class, output):
    """The output's name is one plain path segment that ends in .zarr."""
    with pytest.raises(InvalidParametersError, match="output"):
        validate(workflow_class, {"source": "a.nc", "output": output})


@pytest.fixture
def fenced(tmp_path, samples):
    """Make a root with ways out of it, and a file outside."""
    root = tmp_path / "root"
    root.mkdir()
    outside = tmp_path / "outside.nc"
    outside.symlink_to(samples / PROJECTION)
    secret = tmp_path / "secret.nc"
    secret.write_bytes((samples / PROJECTION).read_bytes())
    (root / "link.nc").symlink_to(secret)
    (root / "up").symlink_to(tmp_path)
    (root / "inside.nc").write_bytes(secret.read_bytes())
    (root / "alias.nc").symlink_to(root / "inside.nc")
    os.mkfifo(root / "pipe.nc")
    return root


@pytest.mark.parametrize(
    "source",
    ["../secret.nc", "{tmp}/secret.nc", "link.nc", "up/secret.nc", "missing.nc", "../missing.nc", "pipe.nc", ".", "/"],
)
def test_a_source_outside_is_refused(convert, fenced, tmp_path, source):
    """Dots, absolute paths and links lead nowhere; whether there is a file outside is not told."""
    with pytest.raises(ValueError, match="below the server's source directories"):
        convert(source.format(tmp=tmp_path), roots=[fenced])


@pytest.mark.parametrize("source", ["inside.nc", "alias.nc", "{root}/inside.nc"])
def test_a_source_inside_is_found(convert, fenced, source):
    """A name, a link that stays inside, and an absolute path below a root are fine."""
    assert convert(source.format(root=fenced), roots=[fenced]).suffix == ".zarr"


def test_without_roots_nothing_is_read(convert):
    """No configured directory means no source at all, and the error says what to set."""
    with pytest.raises(ValueError, match="set `roots`"):
        convert(PROJECTION, roots=[])


def test_a_file_of_another_kind_is_named(convert, tmp_path):
    """What is no netCDF-4 file is refused by name."""
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(ValueError, match=r"text\.nc cannot be read as netCDF-4"):
        convert("text.nc", roots=[tmp_path])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"chunks": {"tiem": 12}}, "no dimension tiem; the dimensions are .*time"),
        ({"variables": ["tas"]}, "has no tas; it has .*air_temperature"),
    ],
)
def test_what_the_file_lacks_is_named(convert, parameters, message):
    """A misspelt dimension or variable is an error that lists what there is."""
    with pytest.raises(ValueError, match=message):
        convert(PROJECTION, **parameters)


@pytest.mark.parametrize("parameters", [{"chunks": {"time": 0}}, {"variables": []}, {"zarr_format": 4}, {"source": ""}])
def test_values_out_of_range_are_refused(workflow_class, parameters):
    """What cannot be meant is refused at submission."""
    with pytest.raises(InvalidParametersError):
        validate(workflow_class, {"source": "a.nc", **parameters})


def test_it_stops_when_it_is_told_to(convert):
    """A cancellation is seen between two blocks."""
    progress = []
    with pytest.raises(ExecutionCancelledError):
        convert(PROJECTION, on_progress=progress.append, is_cancelled=lambda: len(progress) > 5)
    assert len(progress) == 6


def test_one_block_is_held_at_a_time(convert, tmp_path):
    """Converting 160 MB takes far less memory than the file has."""
    import tracemalloc

    rng = np.random.default_rng(0)
    shape = (160, 500, 500)
    values = np.broadcast_to(rng.random((1, *shape[1:]), dtype="f4"), shape)
    xr.Dataset({"v": (("time", "y", "x"), values)}).to_netcdf(
        tmp_path / "big.nc", engine="h5netcdf", encoding={"v": {"chunksizes": (1, 500, 500)}}
    )
    tracemalloc.start()
    try:
        convert("big.nc", roots=[tmp_path])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60_000_000


def test_it_runs_in_the_runners_process(tmp_path, samples):
    """The whole path: discovery in the child, parameters as JSON, progress, a store."""
    request = RunRequest(
        execution_id="exec_1_00000000",
        workflow="netcdf_to_zarr",
        parameters=json.loads(json.dumps({"source": PROJECTION, "chunks": None})),
        output_directory=tmp_path / "output",
    )
    progress = []
    with Runner([DIRECTORY]) as runner:
        runner.run(request, progress.append)
    assert progress[-1]["progress"] == 1.0
    assert_same(samples / PROJECTION, tmp_path / "output" / "E1_north_america.zarr")


@FORMATS
def test_no_warning_is_shown(convert, zarr_format):
    """The conversion shows no warning of any kind."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convert(PROJECTION, zarr_format=zarr_format)
    assert caught == []
