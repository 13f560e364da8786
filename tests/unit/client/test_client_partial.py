"""Partial results: what is not there yet is an error and no value, and they are renewed, pickled and named.

Here the API's list alone tells what is there; `test_client_partial_list.py` has the one that lies beside the files.
"""

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
from starlette.responses import JSONResponse, Response

import wildcast

FILL = -1
VALUES = np.arange(1, 9, dtype="i4")


def write(path, zarr_format, consolidated):
    encoding = {"x": {"chunks": (2,), ("fill_value" if zarr_format == 3 else "_FillValue"): FILL}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        xr.Dataset({"x": ("t", VALUES, {"units": "K"})}).to_zarr(
            path, zarr_format=zarr_format, encoding=encoding, consolidated=consolidated
        )


@pytest.fixture
def running(server, tmp_path, monkeypatch):
    """An execution that has written half of its chunks; call it with a format, and it gives the execution."""
    monkeypatch.setenv("WILDCAST_TOKEN", "canary-token")
    server.statuses = ["running"]

    def answer(request):
        if not request.url.path.endswith("/results"):
            return None
        if server.statuses == ["completed"]:
            return JSONResponse(server.metadata())
        if request.query_params.get("partial") != "true":
            return JSONResponse({"message": "not yet", "status": "running"}, 202)
        return JSONResponse(server.metadata() | {"status": "running", "partial": True})

    def run(zarr_format=3, *, consolidated=True, lacking=()):
        write(tmp_path / "a.zarr", zarr_format, consolidated)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        bodies = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files}
        server.later = {name: body for name, body in bodies.items() if name[-1] in "23" or name.endswith(lacking)}
        server.cdn.objects.update({name: body for name, body in bodies.items() if name not in server.later})
        return server.client.get("wf", server.id)

    server.override = answer
    return run


def opened(result, **options):
    return result.open_dataset(**{"decode_cf": False, **options})["x"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_not_there_yet_is_no_fill_value(running, zarr_format):
    """The chunks that are there have their values; reading one that may still come is an error for zarr, too."""
    data = opened(running(zarr_format).partial_result())
    np.testing.assert_array_equal(data[:4], VALUES[:4])
    for part in (slice(None), slice(4, 5), slice(7, None)):
        with pytest.raises(wildcast.PendingFileError, match="fill_missing=True") as caught:
            data[part].to_numpy()
        assert not isinstance(caught.value, FileNotFoundError | KeyError)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_fill_values_are_for_those_who_ask_for_them(running, zarr_format):
    """With `fill_missing` what is not there reads as what was never written, also of an awaited result."""
    execution = running(zarr_format)
    expected = [1, 2, 3, 4, FILL, FILL, FILL, FILL]
    assert opened(execution.partial_result(fill_missing=True)).to_numpy().tolist() == expected

    async def main():
        async with wildcast.AsyncClient(execution._api.base_url) as client:
            result = await (await client.get("wf", execution.id)).partial_result(fill_missing=True)
            return (await result.open_dataset(decode_cf=False))["x"].to_numpy().tolist()

    assert asyncio.run(main()) == expected


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_a_store_that_is_half_there_opens_without_its_format(running, zarr_format, consolidated):
    """The keys of the other format, for which zarr asks first, are known not to come."""
    result = running(zarr_format, consolidated=consolidated).partial_result()
    group = zarr.open_group(result.store("a.zarr"), mode="r")
    assert group["x"][:4].tolist() == [1, 2, 3, 4]
    data = xr.open_zarr(result.mapper("a.zarr"), chunks=None, consolidated=consolidated, decode_cf=False)
    assert data["x"].attrs["units"] == "K"


@pytest.mark.parametrize("lacking", [".zattrs", ".zarray"])
def test_attributes_that_are_not_there_yet_are_not_none(running, lacking):
    """Without its scale or unit an array would have other values, so it does not open."""
    result = running(2, consolidated=False, lacking=lacking).partial_result()
    with pytest.raises(wildcast.PendingFileError):
        zarr.open_array(result.store("a.zarr/x"), mode="r", zarr_format=2)


def test_a_list_of_nothing_has_no_gaps(running, server):
    """Where the API lists no files, a 404 does not say either that one will never come."""
    execution = running()
    listed = server.metadata
    server.metadata = lambda: listed() | {"output_files": []}
    result = execution.partial_result()
    with pytest.raises((wildcast.PendingFileError, wildcast.LostObjectError)):
        result.fs.cat_file("a.zarr/x/c/3")


def test_a_partial_result_that_has_become_whole_has_gaps_again(running, server):
    """Once there is a manifest it decides: what it lacks was never written."""
    execution = running()
    partial = execution.partial_result()
    server.cdn.publish(**{name: body for name, body in server.later.items() if not name.endswith("3")})
    server.statuses = ["completed"]
    assert opened(partial).to_numpy().tolist() == [1, 2, 3, 4, 5, 6, FILL, FILL]


def test_a_partial_result_is_renewed(running, server):
    """A URL that is refused is replaced by another one of what there is so far."""
    result = running().partial_result()
    data = opened(result)
    fresh, listed = server.cdn.signature[::-1], server.metadata
    server.cdn.accepted = {fresh}
    server.metadata = lambda: listed() | {"signed_url": server.cdn.signed(signature=fresh)}
    np.testing.assert_array_equal(data[:4], VALUES[:4])
    assert fresh in result.signed_url


READ = """
import pickle, sys
fs = pickle.load(open(sys.argv[1], "rb"))
print(len(fs.cat_file("a.zarr/x/c/0")), sorted(fs.ls("a.zarr/x/c", detail=False)))
try:
    fs.cat_file("a.zarr/x/c/2")
except Exception as error:
    print(type(error).__name__)
"""


def test_a_partial_result_is_read_in_another_process(running, tmp_path):
    """There it asks for what there is so far, too, and not for what is complete."""
    (tmp_path / "pickled").write_bytes(pickle.dumps(running().partial_result().fs))
    command = [sys.executable, "-c", READ, str(tmp_path / "pickled")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[1:] == ["PendingFileError"], done.stderr
    assert "'a.zarr/x/c/0', 'a.zarr/x/c/1'" in done.stdout


@pytest.mark.parametrize("fill_missing", [False, True])
def test_a_partial_result_is_named(running, fill_missing):
    """Its storage options open what there is so far, filled up or not as it was asked for."""
    result = running().partial_result(fill_missing=fill_missing)
    options = json.loads(json.dumps(result.storage_options()))
    array = zarr.open_array("wildcast://a.zarr/x", mode="r", storage_options=options, zarr_format=3)
    assert array[:4].tolist() == [1, 2, 3, 4]
    if fill_missing:
        assert array[4:].tolist() == [FILL] * 4
    else:
        with pytest.raises(wildcast.PendingFileError):
            array[4:]


def test_a_partial_result_is_told_from_later_ones(running, server):
    """What dask has computed of one is not taken for a task of the next one, or of the whole; a copy is the same."""
    execution = running()
    results = [execution.partial_result(fill_missing=True) for _ in range(2)]
    server.statuses = ["completed"]
    tokens = [result.fs._fs_token for result in (*results, execution.result(), execution.result())]
    assert len(set(tokens[:3])) == 3
    assert tokens[2] == tokens[3]
    assert pickle.loads(pickle.dumps(results[0].fs))._fs_token == tokens[0]  # noqa: S301 - our own bytes


def test_a_partial_result_is_in_no_cache(running, tmp_path):
    """Its metadata change until the end, and a cache would keep them for the whole result as well."""
    result = running().partial_result()
    cached = fsspec.filesystem("simplecache", fs=result.fs, cache_storage=str(tmp_path / "cache"))
    for path in ("a.zarr/zarr.json", result.url("a.zarr/zarr.json")):
        with pytest.raises(wildcast.ReadError, match="still runs"):
            cached.cat(path)


def test_an_execution_without_anything_so_far_is_said(server, monkeypatch):
    """Who names a partial result of which nothing is there reads that, and not "missing"."""
    monkeypatch.setenv("WILDCAST_TOKEN", "canary-token")
    server.override = lambda _: JSONResponse({"message": "not yet", "status": "running"}, 202)
    fs = wildcast.SignedFileSystem(server=server.url, workflow="wf", execution=server.id, partial=True)
    with pytest.raises(wildcast.ResultsPendingError):
        fs.cat_file("a")


def test_a_refusal_of_a_partial_result_says_why_there_is_no_other_url(running, server):
    """Where nothing is shown any more, the refusal stays a refusal and tells that."""
    result = running().partial_result()
    server.override = lambda _: JSONResponse({"message": "not yet", "status": "running"}, 202)
    server.cdn.fault = lambda *_: Response("no", 403)
    with pytest.raises(wildcast.AccessRefusedError, match="Renewing the URL failed"):
        result.fs.cat_file("a.zarr/x/c/0")
