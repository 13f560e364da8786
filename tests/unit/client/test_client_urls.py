"""Opening results by URL with storage options, and through what other tools put on top."""

import asyncio
import json
import pickle
import subprocess
import sys
import warnings

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from fsspec.implementations.reference import ReferenceFileSystem
from starlette.responses import JSONResponse

import wildcast
from wildcast.contract.manifest import decode_manifest
from wildcast.contract.naming import MANIFEST_PATH

DATA = xr.Dataset({"t": (("time", "x"), np.arange(120.0).reshape(12, 10))}, {"time": np.arange(12)})


@pytest.fixture(params=[2, 3])
def result(request, server, tmp_path):
    """A result with a zarr store of each format, and the same as a netCDF file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        DATA.to_zarr(tmp_path / "o" / "a b.zarr", zarr_format=request.param, encoding={"t": {"chunks": (3, 5)}})
    DATA.to_netcdf(tmp_path / "o" / "d.nc", engine="h5netcdf")
    files = [path for path in (tmp_path / "o").rglob("*") if path.is_file()]
    server.cdn.publish(**{path.relative_to(tmp_path / "o").as_posix(): path.read_bytes() for path in files})
    return server.result()


@pytest.fixture(params=["named", "signed"])
def options(request, result, monkeypatch):
    """Both kinds of storage options, after a passage through JSON."""
    monkeypatch.setenv("WILDCAST_TOKEN", "canary-token")
    return json.loads(json.dumps(result.storage_options(signed=request.param == "signed")))


def test_storage_options_hold_no_secret(result, server):
    """Server, workflow and execution name a result; the signed URL is there only for whoever asks for it."""
    assert result.storage_options() == {"server": server.url, "workflow": "wf", "execution": server.id}
    assert result.storage_options(signed=True) == {"signed_url": result.signed_url}


@pytest.mark.parametrize("mine", ["", "http://127.0.0.1:9"])
def test_options_that_name_another_server_get_no_token_of_the_environment(result, server, monkeypatch, mine):
    """They may be somebody else's: only the server that is configured is sent its token."""
    options = result.storage_options()
    monkeypatch.setenv("WILDCAST_TOKEN", "canary-token")
    monkeypatch.setenv("WILDCAST_URL", mine)
    server.tokens.clear()
    assert fsspec.open("wildcast://d.nc", **options).open().read(1)
    assert set(server.tokens) == {None}
    monkeypatch.setenv("WILDCAST_URL", server.url)
    server.tokens.clear()
    assert fsspec.open("wildcast://d.nc", **options).open().read(1)
    assert set(server.tokens) == {"Bearer canary-token"}


def test_zarr_opens_by_url(options):
    """`xr.open_zarr` and zarr itself take the URL with the options."""
    opened = xr.open_zarr("wildcast://a b.zarr", storage_options=options, chunks=None)
    xr.testing.assert_identical(opened.load(), DATA)
    group = zarr.open_group("wildcast://a b.zarr", mode="r", storage_options=options)
    assert np.array_equal(group["t"][:], DATA["t"])


def test_netcdf_opens_by_url(options):
    """So does a netCDF file, through fsspec's own `open`."""
    with fsspec.open("wildcast://d.nc", **options) as file, xr.open_dataset(file, engine="h5netcdf") as opened:
        xr.testing.assert_identical(opened.load(), DATA)


def test_simplecache_reads_what_it_has_copied(options, result, tmp_path):
    """A local copy is made once, by the cache of fsspec."""
    cache = {"cache_storage": str(tmp_path / "cache")}
    with fsspec.open(f"simplecache::{result.url('d.nc')}", wildcast=options, simplecache=cache) as file:
        xr.testing.assert_identical(xr.open_dataset(file, engine="h5netcdf").load(), DATA)
    url = f"simplecache::{result.url('a b.zarr')}"
    opened = xr.open_zarr(url, storage_options={"wildcast": options, "simplecache": cache}, chunks=None)
    xr.testing.assert_identical(opened.load(), DATA)


def test_references_lead_into_a_result(options, server):
    """A reference filesystem, as kerchunk makes it, reads ranges of a file."""
    body = server.cdn.objects["d.nc"]
    references = {
        "version": 1,
        "refs": {"part": ["wildcast://d.nc", 8, 100], "inline": "x", "all": ["wildcast://d.nc"]},
    }
    waiting = {**options, "asynchronous": False}
    fs = ReferenceFileSystem(references, remote_protocol="wildcast", remote_options=waiting)
    assert fs.cat("part") == body[8:108]
    assert fs.cat(["part", "inline"]) == {"part": body[8:108], "inline": b"x"}
    assert fs.cat("all") == body


def test_zarr_reads_references_into_a_result(options, server):
    """A virtual store whose chunks lie in a result's file opens by its references."""
    values = np.arange(100, dtype="<i4")
    server.cdn.publish(**{"raw.bin": b"head" + values.tobytes()})
    array = {"zarr_format": 2, "shape": [100], "chunks": [50], "dtype": "<i4", "order": "C", "fill_value": 0}
    references = {
        ".zgroup": '{"zarr_format": 2}',
        "v/.zarray": json.dumps({**array, "filters": None, "compressor": None}),
        "v/0": ["wildcast://raw.bin", 4, 200],
        "v/1": ["wildcast://raw.bin", 204, 200],
    }
    over = {"fo": references, "remote_protocol": "wildcast", "remote_options": options}
    group = zarr.open_group("reference://", mode="r", storage_options=over, zarr_format=2)
    assert np.array_equal(group["v"][:], values)


def test_a_store_for_zarr_can_only_be_read(result):
    """`store` is zarr's own kind, and refuses to be written to."""
    assert np.array_equal(zarr.open_group(result.store("a b.zarr"), mode="r")["t"][3], DATA["t"][3])
    with pytest.raises(ValueError, match="read"):
        zarr.open_group(result.store("a b.zarr"), mode="a").create_array("u", shape=(1,), dtype="i4")


def test_making_a_filesystem_asks_nobody(server):
    """Neither API nor CDN hear of a filesystem that is not read, and one that names nothing is refused."""
    fs = wildcast.SignedFileSystem(server=server.url, workflow="wf", execution="exec_1_00000000")
    assert (server.paths, server.cdn.requests) == ([], [])
    assert "exec_1_00000000" in repr(fs)
    with pytest.raises(TypeError, match="storage_options"):
        wildcast.SignedFileSystem()


NAMED = {"server": "http://127.0.0.1:9", "workflow": "wf", "execution": "exec_1_00000000", "partial": True}


@pytest.mark.parametrize("option", NAMED)
@pytest.mark.parametrize("given", ["source", "signed_url"])
def test_a_url_and_a_name_contradict_each_other(cdn, given, option):
    """What would be ignored is refused by its name, and so is a second URL."""
    url = cdn.signed()
    with pytest.raises(TypeError, match=f"leave out '{option}'"):
        wildcast.SignedFileSystem(**{given: url, option: NAMED[option]})
    with pytest.raises(TypeError, match="twice"):
        wildcast.SignedFileSystem(url, signed_url=url)


def test_tokens_are_stable_and_tell_results_apart(server):
    """A name is the same in every process and for every URL, and another for another execution."""
    options = {"server": server.url, "workflow": "wf"}
    one, same, other = (
        wildcast.SignedFileSystem(execution=name, **options) for name in ("exec_1_0", "exec_1_0", "exec_2_0")
    )
    assert one._fs_token == same._fs_token != other._fs_token
    assert fsspec.AbstractFileSystem.from_json(one.to_json())._fs_token == one._fs_token


def test_an_execution_that_has_not_ended_is_said(server):
    """Whoever opens too early reads that, and not "missing"."""
    server.override = lambda _: JSONResponse({"message": "not yet", "status": "running"}, 202)
    fs = wildcast.SignedFileSystem(server=server.url, workflow="wf", execution=server.id)
    with pytest.raises(wildcast.ResultsPendingError):
        fs.cat_file("a")


def test_results_are_read_in_a_notebook(options):
    """In a cell, whose loop is running, the ordinary calls work."""

    async def cell():
        return xr.open_zarr("wildcast://a b.zarr", storage_options=options, chunks=None).load()

    xr.testing.assert_identical(asyncio.run(cell()), DATA)


def test_dask_threads_read_right_values(result):
    """Several threads read the chunks of one dataset."""
    pytest.importorskip("dask")
    opened = result.open_dataset("a b.zarr", chunks={})
    xr.testing.assert_identical(opened.load(scheduler="threads"), DATA)


READ_PICKLED = """
import pickle, sys
data = pickle.load(open(sys.argv[1], "rb"))
copies = [pickle.load(open(sys.argv[1], "rb")) for _ in range(20)]
print(float(data["t"].sum()), {float(copy["t"][0, 1]) for copy in copies})
"""


def test_another_process_reads_what_was_pickled(result, server, tmp_path):
    """It takes the token from its environment, and its many copies share manifest and URL."""
    (tmp_path / "p").write_bytes(pickle.dumps(result.open_dataset("a b.zarr")))
    assert b"canary-token" not in (tmp_path / "p").read_bytes()
    server.cdn.requests.clear()
    done = subprocess.run(
        [sys.executable, "-c", READ_PICKLED, str(tmp_path / "p")], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{float(DATA['t'].sum())} {{1.0}}\n", done.stderr
    assert server.cdn.asked(MANIFEST_PATH) == 1


def test_dask_processes_read_right_values(result, monkeypatch):
    """Each process opens its own connections, and none takes its parent's."""
    pytest.importorskip("dask")
    monkeypatch.setenv("WILDCAST_TOKEN", "canary-token")
    opened = result.open_dataset("a b.zarr", chunks={})
    xr.testing.assert_identical(opened.load(scheduler="processes", num_workers=2), DATA)


def test_the_manifest_of_the_tests_is_one(result, server):
    """What the server of these tests publishes is what the contract reads."""
    assert len(decode_manifest(server.cdn.objects[MANIFEST_PATH]).rows) == len(result.paths)
