"""Downloading files and opening datasets, for both storage types: what the SDK got wrong is right here."""

import asyncio
import pickle
import time
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.responses import JSONResponse, StreamingResponse

from api_client import fsspec_utils
from api_client.e2client import RemoteEarth2Workflow, RemoteEarth2WorkflowResult
from api_client.exceptions import (
    APIConnectionError,
    BadRequestError,
    Earth2StudioAPIError,
    InferenceRequestNotFoundError,
    InternalServerError,
    ResultFileNotFoundError,
)
from api_client.object_storage import SignedURLFileSystem, create_cloudfront_mapper, get_mapper
from wildcast import AccessRefusedError, ReadError

ID = "exec_1769560728_10ed9d3c"
NAMES = ["plain.txt", "dir/a #1?.txt", "100%25 Zürich & co;=+.txt", "results.zarr/.zarray"]
T = xr.Dataset({"t": ("x", np.arange(24.0))}, attrs={"title": "t"})


def store(directory, dataset=T, **options):
    """Return the files of a zarr store, one chunk a value."""
    encoding = {name: {"chunks": (1,)} for name in dataset.data_vars}
    dataset.to_zarr(directory, consolidated=True, encoding=encoding, zarr_format=2, **options)
    return {
        str(path.relative_to(directory.parent)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def result_of(peer, **options):
    return RemoteEarth2WorkflowResult(
        RemoteEarth2Workflow(peer.origin, "wf", retry_backoff_factor=0.001, **options), ID
    )


@pytest.mark.usefixtures("storage_type")
def test_every_listed_file_is_downloaded(peer, client):
    """As `output_files` names them, with `#`, `?`, `%` and any letter in them, and without the execution's id too."""
    peer.files = {name: name.encode() for name in NAMES}
    results = client.get_request_results(ID)
    for file in results.output_files:
        relative = file.path.removeprefix(f"{ID}/")
        assert client.download_result(results, file.path).getvalue() == relative.encode()
        assert client.download_result(results, relative).read() == relative.encode()
    assert [file.path for file in results.output_files] == [f"{ID}/{name}" for name in NAMES]


@pytest.mark.usefixtures("storage_type")
@pytest.mark.parametrize("path", [f"{ID}/other.txt", "other.txt"])
def test_a_file_that_the_result_never_had_is_not_found(peer, client, path):
    """It is the SDK's 404 and Python's own error at once, so both ways of catching it go on working."""
    peer.files = {"a.txt": b"a"}
    results = client.get_request_results(ID)
    with pytest.raises(ResultFileNotFoundError) as caught:
        client.download_result(results, path)
    assert isinstance(caught.value, InferenceRequestNotFoundError)
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("path", ["", "../a.txt", "/etc/passwd"])
def test_a_path_that_is_none_is_refused(peer, client, path):
    """What names nothing inside a result is the caller's mistake, and no request."""
    peer.files = {"a.txt": b"a"}
    results = client.get_request_results(ID)
    with pytest.raises(Earth2StudioAPIError):
        client.download_result(results, path)
    assert all("passwd" not in asked for _, asked in peer.requests)


def test_a_refusal_is_not_a_missing_file(peer, client):
    """A 403 from the CDN, with an expired or foreign signature, is an error with 403: the file may well exist."""
    peer.files = {"a.txt": b"a"}
    results = client.get_request_results(ID)
    peer.accepted = set()
    with pytest.raises(Earth2StudioAPIError) as caught:
        client.download_result(results, f"{ID}/a.txt")
    assert not isinstance(caught.value, FileNotFoundError)
    assert caught.value.status_code == 403
    assert peer.signature not in str(caught.value)


def test_an_error_is_no_missing_file_because_the_signature_holds_403(peer):
    """Errors are told apart by their kind, never by digits that stand somewhere in their text."""
    assert "403" in peer.signature
    peer.files = {"a.txt": b"a"}
    with peer.client(max_retries=0) as client:
        results = client.get_request_results(ID)
        peer.override = lambda _request: JSONResponse({}, 500)
        with pytest.raises(InternalServerError, match="500"):
            client.download_result(results, f"{ID}/a.txt")


@pytest.mark.usefixtures("storage_type")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, Earth2StudioAPIError),
        (403, Earth2StudioAPIError),
        (429, Earth2StudioAPIError),
        (500, InternalServerError),
        (503, Earth2StudioAPIError),
    ],
)
def test_a_download_that_is_refused_has_the_status_that_was_answered(peer, status, kind):
    """Class and `status_code` are those of the answer; "cannot be reached" is for a server that did not answer."""
    peer.files = {"a.txt": b"a"}
    with peer.client(max_retries=0) as client:
        results = client.get_request_results(ID)
        peer.override = lambda request: JSONResponse({}, status) if request.url.path.endswith("/a.txt") else None
        with pytest.raises(Earth2StudioAPIError) as caught:
            client.download_result(results, f"{ID}/a.txt")
    assert (type(caught.value), caught.value.status_code) == (kind, status)


def test_a_refusal_that_cannot_be_mended_keeps_its_status(peer):
    """Where the URL cannot be renewed either, the download is still refused, and says both."""
    peer.files = {"a.txt": b"a"}
    with peer.client(max_retries=0) as client:
        results = client.get_request_results(ID)
        peer.accepted = set()
        peer.override = lambda request: JSONResponse({}, 503) if request.url.path.startswith("/v1/") else None
        with pytest.raises(Earth2StudioAPIError, match="503") as caught:
            client.download_result(results, f"{ID}/a.txt")
    assert caught.value.status_code == 403


@pytest.mark.usefixtures("storage_type")
def test_a_refusal_while_a_dataset_is_read_gives_no_fill_values(peer, tmp_path):
    """Chunks that the server refuses are an exception, not NaN."""
    peer.files = store(tmp_path / "results.zarr")
    ds = result_of(peer).as_dataset()
    refused = JSONResponse({"detail": "no"}, 403)
    peer.override = lambda request: refused if "/t/" in request.url.path else None
    with pytest.raises(AccessRefusedError):
        ds["t"].values  # noqa: B018 - reading is what fails


def test_a_mapper_that_ended_is_an_error_and_no_empty_store(peer, tmp_path):
    """Opened or read with a URL that has ended, a store is neither "not found" nor full of fill values."""
    peer.files, peer.accepted = store(tmp_path / "results.zarr"), set()
    with pytest.raises(AccessRefusedError):
        xr.open_zarr(create_cloudfront_mapper(peer.signed_url, "results.zarr"), consolidated=True)


def test_a_chunk_that_was_never_written_is_still_a_fill_value(peer, tmp_path):
    """What the result does not list reads as zarr's fill value, without a request for each."""
    peer.files = store(tmp_path / "results.zarr")
    del peer.files["results.zarr/t/3"]
    ds = result_of(peer).as_dataset()
    assert np.isnan(ds["t"].values[3])
    assert ds["t"].values[4] == 4
    assert all(not asked.partition("?")[0].endswith("/t/3") for _, asked in peer.requests)


@pytest.mark.usefixtures("storage_type")
def test_a_chunk_that_was_lost_is_an_error(peer, tmp_path):
    """What the result lists and the store lacks is a defect that is reported, not a gap in the data."""
    peer.files = store(tmp_path / "results.zarr")
    ds = result_of(peer).as_dataset()
    del peer.files["results.zarr/t/3"]
    with pytest.raises(ReadError, match="t/3"):
        ds["t"].values  # noqa: B018 - reading is what fails


def test_a_dataset_renews_its_url_while_it_is_read(peer, tmp_path):
    """A URL that ends between opening and reading is asked for anew, unnoticed."""
    peer.files = store(tmp_path / "results.zarr")
    ds = result_of(peer).as_dataset()
    peer.signature, peer.accepted = "anew", {"anew"}
    np.testing.assert_array_equal(ds["t"].values, T["t"].values)


def test_a_download_renews_its_url(peer, client):
    """Results that were fetched long ago are downloaded with a URL of now."""
    peer.files = {"a.txt": b"a"}
    results = client.get_request_results(ID)
    peer.signature, peer.accepted = "anew", {"anew"}
    assert client.download_result(results, f"{ID}/a.txt").read() == b"a"


def test_an_error_of_the_api_is_told_without_another_clients_advice(peer, client):
    """The sentence is the server's; what `wildcast` would advise names methods that the SDK does not have."""
    results = client.get_request_results(ID)
    peer.override = lambda request: (
        JSONResponse({"error": "no such execution"}, 404) if request.url.path.endswith("/results") else None
    )
    with pytest.raises(InferenceRequestNotFoundError) as caught:
        client.download_result(results, "a.txt")
    assert caught.value.message == "no such execution"


@pytest.mark.usefixtures("storage_type")
def test_the_earth2studio_servers_answers_are_enough(peer, tmp_path):
    """Without our additions, and without the keys that it leaves out, results open and URLs are renewed."""
    peer.files, peer.left_out = store(tmp_path / "results.zarr"), {"completion_time", "execution_time_seconds"}
    if peer.storage_type == "server":
        peer.left_out |= {"signed_url", "storage_type"}
    ds = result_of(peer).as_dataset()
    peer.signature, peer.accepted = "anew", {"anew"}
    xr.testing.assert_identical(ds.load(), T)


def netcdf(path, size=2_000):
    dataset = xr.Dataset({"t": ("x", np.arange(float(size)))})
    dataset.to_netcdf(path, engine="h5netcdf", encoding={"t": {"chunksizes": (1000,)}})
    return dataset


@pytest.mark.usefixtures("storage_type")
def test_a_netcdf_file_opens_and_is_read_in_parts(peer, tmp_path):
    """The values are right, and one of them does not cost the whole file."""
    expected = netcdf(tmp_path / "out.nc", 1_000_000)
    peer.files = {"out.nc": (tmp_path / "out.nc").read_bytes()}
    with result_of(peer).as_dataset() as ds:
        assert ds["t"][700_000].item() == 700_000
        assert peer.sent < len(peer.files["out.nc"]) / 2
        xr.testing.assert_equal(ds.load(), expected)


@pytest.mark.usefixtures("storage_type")
def test_every_output_is_reachable(peer, tmp_path):
    """Several stores and netCDF files: the first by default, and each by its path, with the execution's id or not."""
    other = T.rename(t="other")
    peer.files = store(tmp_path / "b.zarr") | store(tmp_path / "sub" / "c.zarr", other)
    peer.files = {name if name.startswith("b") else f"sub/{name}": body for name, body in peer.files.items()}
    netcdf(tmp_path / "a.nc")
    peer.files["a.nc"] = (tmp_path / "a.nc").read_bytes()
    result = result_of(peer)
    assert list(result.as_dataset()) == ["t"]
    assert list(result.as_dataset(path=f"{ID}/sub/c.zarr")) == list(result.as_dataset("sub/c.zarr/")) == ["other"]
    with result.as_dataset("a.nc") as opened:
        assert opened["t"].size == 2_000
    with pytest.raises(Earth2StudioAPIError, match=r"sub/c\.zarr"):
        result.as_dataset("nowhere.zarr")


def test_as_many_chunks_are_in_flight_as_zarr_is_told(peer, tmp_path):
    """No pool of threads limits the reads: with zarr's concurrency at 24, 24 chunks are asked for at once."""
    peer.files = store(tmp_path / "results.zarr")
    ds = result_of(peer).as_dataset()
    waiting, full = [0], asyncio.Event()

    async def gate(request):
        if "/t/" in request.url.path:
            waiting[0] += 1
            if waiting[0] == 24:
                full.set()
            await asyncio.wait_for(full.wait(), 20)

    peer.gate = gate
    # Where dask is installed, its threads read a chunk each.
    dask = import_module("dask").config.set(num_workers=24) if find_spec("dask") else nullcontext()
    with zarr.config.set({"async.concurrency": 24}), dask:
        np.testing.assert_array_equal(ds["t"].values, T["t"].values)


@pytest.mark.usefixtures("storage_type")
def test_a_large_file_goes_to_disk_instead_of_memory(peer, client, tmp_path):
    """Beside the signature's `BytesIO` there is a way that streams: what is still to come waits for what is on disk."""
    first, second = bytes(range(256)) * 8192, b"second" * 1000

    def wait_for_the_first():
        deadline = time.monotonic() + 20
        while sum(path.stat().st_size for path in tmp_path.rglob("*.partial")) < len(first) / 2:
            assert time.monotonic() < deadline, "nothing was written while the rest was missing"
            time.sleep(0.005)

    async def halves():
        yield first
        await asyncio.to_thread(wait_for_the_first)
        yield second

    peer.files = {"dir/big.bin": first + second}
    results = client.get_request_results(ID)
    peer.override = lambda request: StreamingResponse(halves()) if request.url.path.endswith("big.bin") else None
    written = client.as_wildcast(results).download_file(results.output_files[0].path, tmp_path)
    assert written == tmp_path / "dir" / "big.bin"
    assert written.read_bytes() == first + second


def test_a_loop_over_all_files_asks_for_nothing_else(peer, client):
    """Each download is one request, after one for a manifest: neither is asked for again, nor are metadata."""
    peer.files = {f"{number}.txt": b"x" for number in range(20)}
    results = client.get_request_results(ID)
    peer.requests.clear()
    for file in results.output_files:
        client.download_result(results, file.path)
    assert len(peer.requests) == 21


def test_a_silent_cdn_is_noticed_after_the_downloads_timeout(peer):
    """`timeout` of a download bounds its silence, also where the files are in object storage."""
    peer.files = {"a.txt": b"a"}

    async def gate(request):
        await asyncio.sleep(1 if request.url.path.startswith("/cdn/") else 0)

    with peer.client(max_retries=0) as client:
        results = client.get_request_results(ID)
        peer.gate = gate
        with pytest.raises(APIConnectionError, match="TimeoutError"):
            client.download_result(results, f"{ID}/a.txt", timeout=0.05)
        assert client.download_result(results, f"{ID}/a.txt").read() == b"a"


def test_a_dataset_travels_to_other_processes(peer, tmp_path):
    """Pickled, as schedulers do, it is read there too, without carrying the token along."""
    peer.files = store(tmp_path / "results.zarr")
    sent = pickle.dumps(result_of(peer, token="canary").as_dataset())
    assert b"canary" not in sent
    peer.signature, peer.accepted = "anew", {"anew"}
    xr.testing.assert_identical(pickle.loads(sent).load(), T)  # noqa: S301 - our own


def test_the_token_goes_to_the_api_and_never_to_the_cdn(peer, tmp_path):
    """Files that the API serves are asked for with the token, signed ones without."""
    peer.files = store(tmp_path / "results.zarr")
    for storage_type in ("server", "s3"):
        peer.storage_type = storage_type
        result_of(peer, token="canary").as_dataset().load()
    told = {
        path.partition("?")[0]: "authorization" in headers
        for (_, path), headers in zip(peer.requests, peer.headers, strict=True)
    }
    assert {told[path] for path in told if path.startswith("/cdn/")} == {False}
    assert {told[path] for path in told if path.startswith("/v1/")} == {True}


def test_the_archive_of_all_files_is_downloaded_by_its_name(peer, client):
    """`<workflow>:<execution>` is no file of the result, and still a path that the API answers."""
    peer.override = lambda request: JSONResponse({"zip": 1}) if request.url.path.endswith(f"/wf:{ID}") else None
    results = client.get_request_results(ID)
    assert client.download_result(results, f"wf:{ID}").read() == b'{"zip":1}'


def test_the_root_path_is_the_sdks(client, peer):
    """Users put it between the server's address and a path."""
    peer.files = {"results.zarr/.zgroup": b"{}"}
    results = client.get_request_results(ID)
    assert client.result_root_path(results) == f"/v1/infer/wf/{ID}/results/"
    assert results.result_paths() == [f"{ID}/results.zarr"]
    client.workflow_name = "a/b"
    assert client.result_root_path(results) == f"/v1/infer/a%2Fb/{ID}/results/"


def test_xr_args_reach_xarray(peer, tmp_path):
    """They override what is passed by default; `storage_options`, of another filesystem, is left out."""
    peer.files = store(tmp_path / "results.zarr", T.assign(u=T["t"]))
    options = {"drop_variables": ["u"], "storage_options": {"headers": {}}, "consolidated": False}
    result = result_of(peer, xr_args=options)
    assert list(result.as_dataset()) == ["t"]
    assert result.workflow.xr_args == options
    assert result.workflow.xr_args is not options


def test_a_mapper_of_a_result_knows_its_files(peer, client, tmp_path):
    """In object storage it maps the store; where the API serves the files there is none, as in the SDK."""
    peer.files = store(tmp_path / "results.zarr")
    results = client.get_request_results(ID)
    xr.testing.assert_identical(xr.open_zarr(get_mapper(results, "results.zarr")).load(), T)
    assert fsspec_utils.get_mapper(results, "results.zarr")["t/2"] == peer.files["results.zarr/t/2"]
    results.storage_type = "s3"  # as one may write it by hand
    assert get_mapper(results, "results.zarr")["t/2"] == peer.files["results.zarr/t/2"]
    results.signed_url = None
    with pytest.raises(ValueError, match="signed URL"):
        get_mapper(results)
    results.storage_type = "tape"
    with pytest.raises(ValueError, match="tape"):
        get_mapper(results)
    peer.storage_type = "server"
    assert get_mapper(client.get_request_results(ID)) is None


def test_results_in_object_storage_without_a_url_are_an_api_error(peer, client):
    """A server that forgot to sign is told about, by download and dataset alike."""
    peer.files, peer.left_out = {"a.nc": b"a"}, {"signed_url"}
    with pytest.raises(Earth2StudioAPIError, match="signed URL"):
        client.download_result(client.get_request_results(ID), f"{ID}/a.nc")
    with pytest.raises(Earth2StudioAPIError, match="signed URL"):
        result_of(peer).as_dataset()


def test_a_filesystem_is_made_of_a_url_and_its_query(peer):
    """The SDK's class takes the signature apart; ours reads with it, and refuses to call a refusal "missing"."""
    peer.files = {"a #.txt": b"a"}
    base, _, query = peer.signed_url.partition("/*?")
    fs = SignedURLFileSystem(None, dict(field.split("=", 1) for field in query.split("&")), base)
    assert fs.cat_file("a #.txt") == b"a"
    with pytest.raises(FileNotFoundError):
        fs.cat_file("b.txt")
    peer.files["dir/c.txt"] = b"c"
    below = SignedURLFileSystem(base_fs=None, query_params=fs.storage_args[1], base_url=f"{base}/dir")
    assert below.cat_file("c.txt") == b"c"
    peer.accepted = set()
    with pytest.raises(PermissionError):
        fs.exists("b.txt")
