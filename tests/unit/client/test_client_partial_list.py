"""The list of what is there so far, beside the files of an execution that runs: it stands in for the manifest."""

import json
import warnings

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.responses import JSONResponse, Response

import wildcast
from wildcast.contract.manifest import encode_manifest
from wildcast.contract.naming import MANIFEST_PATH, PARTIAL_PATH

FILL = -1
VALUES = np.arange(1, 9, dtype="i4")
META, CHUNK = "a.zarr/zarr.json", "a.zarr/x/c/0"
S3_REFUSAL = "<Error><Code>AccessDenied</Code><RequestId>R</RequestId><HostId>H</HostId></Error>"


def store_of(path, values, **attributes):
    """Write a store of two values a chunk, and return its files."""
    data = xr.Dataset({"x": ("t", values)}, attrs=attributes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        data.to_zarr(path / "a.zarr", zarr_format=3, encoding={"x": {"chunks": (2,), "fill_value": FILL}})
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def running(server, tmp_path):
    """An execution that has written and listed the first two of four chunks; its API and CDN."""
    server.statuses = ["running"]
    server.override = lambda request: (
        JSONResponse(server.metadata() | {"status": "running", "partial": True})
        if request.url.path.endswith("/results") and server.statuses == ["running"]
        else None
    )
    files = store_of(tmp_path / "written", VALUES)
    server.later = {name: body for name, body in files.items() if name[-1] in "23"}
    server.cdn.objects.update({name: body for name, body in files.items() if name not in server.later})
    server.cdn.write_manifest(PARTIAL_PATH)
    return server


def partial_result(server, **options):
    return server.client.get("wf", server.id).partial_result(**options)


WAYS = {
    "by name": lambda server, **options: partial_result(server, **options).fs,
    "signed": lambda server, **options: wildcast.SignedFileSystem(
        **partial_result(server, **options).storage_options(signed=True)
    ),
    "mapper": lambda server: wildcast.create_cloudfront_mapper(partial_result(server).signed_url).fs,
}


@pytest.fixture(params=WAYS)
def fs(request, running):
    """The files of an execution that runs, in each way of reading them."""
    return WAYS[request.param](running)


def opened(fs):
    return xr.open_zarr(fs.get_mapper("a.zarr"), chunks=None, mask_and_scale=False)["x"]


def test_what_is_not_there_yet_is_no_fill_value(fs):
    """Whoever reads a running result by its signed URL alone is told of gaps, too, and reads nothing into them."""
    data = opened(fs)
    np.testing.assert_array_equal(data[:4], VALUES[:4])
    with pytest.raises(wildcast.PendingFileError, match="fill_missing=True") as caught:
        data[4:].to_numpy()
    assert not isinstance(caught.value, FileNotFoundError | KeyError)


@pytest.mark.parametrize("way", ["by name", "signed"])
def test_fill_values_are_for_those_who_ask_for_them(running, way):
    """The storage options with the signed URL say so, as those without do."""
    assert opened(WAYS[way](running, fill_missing=True)).to_numpy().tolist() == [1, 2, 3, 4, FILL, FILL, FILL, FILL]


def test_what_is_there_is_listed(fs):
    """The list's files and their sizes are what there is."""
    assert fs.ls("a.zarr/x/c", detail=False) == ["a.zarr/x/c/0", "a.zarr/x/c/1"]
    assert fs.info(CHUNK)["size"] == len(fs.cat_file(CHUNK))
    with pytest.raises(wildcast.PendingFileError):
        fs.cat_file("a.zarr/x/c/2")


def test_a_chunk_is_held_to_its_checksum(fs, running):
    """Another version of the same size is an error."""
    body = running.cdn.objects[CHUNK]
    running.cdn.fault = lambda path, _: Response(body[::-1]) if path == CHUNK else None
    with pytest.raises(wildcast.StaleObjectError, match="checksum"):
        opened(fs)[:2].to_numpy()


def test_a_download_is_held_to_the_checksums(running, tmp_path):
    """What is downloaded of a partial result has them, and what is there and differs is not kept."""
    result = partial_result(running)
    (file,) = result.download(tmp_path / "d", CHUNK, progress=False)
    body = file.read_bytes()
    file.write_bytes(body[::-1])
    result.download(tmp_path / "d", CHUNK, progress=False)
    assert file.read_bytes() == body
    running.cdn.fault = lambda path, _: Response(body[::-1]) if path == CHUNK else None
    with pytest.raises(wildcast.StaleObjectError):
        result.download(tmp_path / "e", CHUNK, progress=False)


@pytest.mark.parametrize("listed", [True, False])
def test_a_store_that_grows_is_read(running, tmp_path, listed):
    """Metadata are written again, longer, after they were listed: they are read as they are, and data as listed."""
    if not listed:
        del running.cdn.objects[PARTIAL_PATH]
    result = partial_result(running)
    result.fs.cat_file(CHUNK)
    grown = store_of(tmp_path / "grown", np.arange(1, 11, dtype="i4"), history="appended to")
    running.cdn.objects.update({path: body for path, body in grown.items() if path.endswith("zarr.json")})
    data = opened(result.fs)
    assert data.size == 10
    assert data[:4].to_numpy().tolist() == [1, 2, 3, 4]
    with pytest.raises(wildcast.PendingFileError):
        data[8:].to_numpy()
    with result.fs.open(META) as file:
        assert file.read() == grown[META]


def test_large_metadata_that_grow_are_downloaded(running, tmp_path):
    """Those that would arrive in parts are not held to what the list said either."""
    running.cdn.objects[META] = json.dumps({"zarr_format": 3, "node_type": "group", "a": "x" * (2 << 20)}).encode()
    running.cdn.write_manifest(PARTIAL_PATH)
    result = partial_result(running)
    result.fs.cat_file(CHUNK)
    grown = running.cdn.objects[META] = running.cdn.objects[META].replace(b"xx", b"xyz")
    (file,) = result.download(tmp_path / "d", META, progress=False)
    assert file.read_bytes() == grown


def test_what_was_taken_back_is_said(fs, running):
    """A list of nothing marks a place that was given up: that is no result without files."""
    running.cdn.objects[PARTIAL_PATH] = encode_manifest(running.cdn.manifest_of([]))
    for read in (fs.cat_file, fs.ls, fs.exists):
        with pytest.raises(wildcast.ResultChangedError, match="is shown any more"):
            read(CHUNK)


def test_what_was_listed_and_is_gone_is_lost(fs, running):
    """It is no gap; and as the execution still runs, it need not be a defect."""
    del running.cdn.objects[CHUNK]
    with pytest.raises(wildcast.LostObjectError, match="Ask for the result again"):
        opened(fs)[:2].to_numpy()


@pytest.mark.parametrize("fill_missing", [False, True])
def test_the_first_read_heeds_the_manifest(running, fill_missing):
    """What came after the API was asked is there, once there is a manifest, from the first read on."""
    result = partial_result(running, fill_missing=fill_missing)
    running.cdn.publish(**running.later)
    assert result.fs.cat_file("a.zarr/x/c/3") == running.later["a.zarr/x/c/3"]


def test_a_running_result_is_in_no_cache(running, tmp_path):
    """Its metadata change until the end, by whatever URL they are read; a finished one's do not."""

    def cached(path=None):
        fs = WAYS["signed"](running)
        cache = fsspec.filesystem("simplecache", fs=fs, cache_storage=str(tmp_path / "cache"), skip_instance_cache=True)
        return cache.cat(path or fs.unstrip_protocol(META))

    for path in (META, None):
        with pytest.raises(wildcast.ReadError, match="still runs"):
            cached(path)
    running.cdn.publish(**running.later)
    assert cached() == running.cdn.objects[META]


def test_what_is_filled_up_has_a_token_of_its_own(running):
    """What dask has computed with fill values is not taken for what was read later."""
    url = partial_result(running).signed_url
    plain, *filled = (wildcast.SignedFileSystem(url, fill_missing=fill) for fill in (False, True, True))
    assert len({fs._fs_token for fs in (plain, *filled)}) == 3


def test_a_bucket_that_may_not_be_listed_has_it_too(fs, running):
    """There the store refuses the manifest that is missing, and the list says that the execution runs."""
    refusal = Response(S3_REFUSAL, 403, headers={"Server": "AmazonS3"})
    running.cdn.fault = lambda path, _: None if path in running.cdn.objects else refusal
    data = opened(fs)
    assert data[:4].to_numpy().tolist() == [1, 2, 3, 4]
    with pytest.raises(wildcast.PendingFileError):
        data[4:].to_numpy()


def test_zarr_finds_its_formats(fs):
    """The keys of another format are known not to come, without asking the CDN for them."""
    assert zarr.open_group(fs.get_mapper("a.zarr"), mode="r")["x"][:4].tolist() == [1, 2, 3, 4]


def test_a_finished_result_is_not_asked_for_the_list(running):
    """Where there is a manifest it decides alone, whatever list was left beside it."""
    running.cdn.publish(**running.later)
    running.statuses = ["completed"]
    assert opened(running.client.get("wf", running.id).result().fs).to_numpy().tolist() == VALUES.tolist()
    assert (running.cdn.asked(MANIFEST_PATH), running.cdn.asked(PARTIAL_PATH)) == (1, 0)


@pytest.mark.parametrize("opened_by", ["open_dataset", "open_datatree"])
def test_a_dataset_opens_before_its_metadata_are_consolidated(running, opened_by):
    """Which they are at the end: until then its arrays are found by the list."""
    metadata = json.loads(running.cdn.objects[META])
    del metadata["consolidated_metadata"]
    running.cdn.objects[META] = json.dumps(metadata).encode()
    running.cdn.write_manifest(PARTIAL_PATH)
    data = getattr(partial_result(running), opened_by)(chunks=None, mask_and_scale=False)["x"]
    np.testing.assert_array_equal(data[:4], VALUES[:4])
    with pytest.raises(wildcast.PendingFileError):
        data[4:].to_numpy()
