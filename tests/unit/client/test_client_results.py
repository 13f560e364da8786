"""Results: their datasets, files and downloads, from the CDN and from the API."""

import asyncio
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.responses import JSONResponse, Response

import wildcast
from wildcast.contract.manifest import Dataset

TOKEN = "canary-token"


def test_a_result_lists_and_shows_no_secret(server):
    """Files, paths and end are there; the repr has no signature."""
    server.cdn.publish(**{"r.zarr/zarr.json": b"{}", "a.nc": b"12"})
    found = server.result()
    assert found.paths == ("r.zarr/zarr.json", "a.nc")
    assert found.files[1].path == f"{server.id}/a.nc"
    assert found.signed_url.startswith(f"{server.cdn.base}/*?Policy=")
    assert found.expires_at > datetime.now(UTC)
    text = repr(found) + repr(found.fs) + repr(found.metadata)
    assert server.cdn.signature not in text


def test_datasets_are_found_where_the_server_names_none(server):
    """A server without `datasets` in its answer still has stores and files that can be opened."""
    for path in ("r.zarr/zarr.json", "r.zarr/t/c/0", "old/q.zarr/.zgroup", "old/q.zarr/t/0", "a.nc", "notes.txt"):
        server.cdn.objects[path] = b"1"
    assert server.result().datasets == (
        Dataset(path="a.nc", format="netcdf"),
        Dataset(path="old/q.zarr", format="zarr2"),
        Dataset(path="r.zarr", format="zarr3"),
    )


def dataset():
    return xr.Dataset({"t": ("x", np.arange(6.0))}, attrs={"title": "six"})


def publish_datasets(server, tmp_path, zarr_format=2):
    with_filter = tmp_path / "out"
    with_filter.mkdir()
    dataset().to_zarr(with_filter / "r.zarr", zarr_format=zarr_format, consolidated=zarr_format == 2)
    dataset().to_netcdf(with_filter / "a.nc", engine="h5netcdf")
    files = [path for path in with_filter.rglob("*") if path.is_file()]
    server.cdn.publish(**{path.relative_to(with_filter).as_posix(): path.read_bytes() for path in files})


def test_a_directory_of_the_executions_name_has_datasets_of_its_own(server, tmp_path):
    """Each opens by the path by which it is listed, and so do mappers, stores, files and downloads."""
    inner = f"{server.id}/r.zarr"
    for path, number in (("r.zarr", 0), (inner, 1)):
        xr.Dataset({"t": ("x", np.full(6, number))}).to_zarr(tmp_path / "out" / path, zarr_format=2)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    objects = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files}
    server.cdn.publish(**objects)
    result = server.result()
    opened = result.open_datasets()
    assert {path: int(data["t"].max()) for path, data in opened.items()} == {"r.zarr": 0, inner: 1}
    for path, number in (("r.zarr", 0), (inner, 1), (f"{server.id}/{inner}", 1)):
        assert int(xr.open_zarr(result.mapper(path), chunks=None)["t"].max()) == number
        assert int(zarr.open_array(result.store(f"{path}/t"), mode="r")[0]) == number
        url = f"{result.url(path)}/t"
        assert int(zarr.open_array(url, storage_options=result.storage_options(signed=True), mode="r")[0]) == number
    (written,) = result.download(tmp_path / "down", f"{inner}/t/0")
    assert written.read_bytes() == objects[f"{inner}/t/0"]
    assert result.download(tmp_path / "down", f"{server.id}/**/0") == [written]


@pytest.mark.parametrize("storage_type", ["s3", "server"])
@pytest.mark.parametrize("name", ["r.zarr", "r", "a.nc", "a", "exec_1769560728_10ed9d3c/a.nc"])
def test_datasets_open_by_path_or_stem(server, tmp_path, storage_type, name):
    """Zarr and netCDF open through the CDN and through the API alike."""
    server.storage_type = storage_type
    publish_datasets(server, tmp_path)
    with server.result().open_dataset(name) as opened:
        xr.testing.assert_identical(opened.load(), dataset())


def test_options_reach_xarray(server, tmp_path):
    """What xarray takes, `open_dataset` takes; its own defaults give way."""
    publish_datasets(server, tmp_path, zarr_format=3)
    opened = server.result().open_dataset("r", consolidated=False, drop_variables=["t"])
    assert list(opened.variables) == []


def test_several_datasets_need_a_name(server, tmp_path):
    """Nothing is chosen silently: the error lists what there is."""
    publish_datasets(server, tmp_path)
    with pytest.raises(wildcast.DatasetError, match=r"'a.nc', 'r.zarr'"):
        server.result().open_dataset()


def test_an_unknown_dataset_is_named(server, tmp_path):
    """A dataset that is not there is an error that lists those that are."""
    publish_datasets(server, tmp_path)
    with pytest.raises(wildcast.DatasetError, match=r"'b.nc'.*is not there"):
        server.result().open_dataset("b.nc")


def test_a_netcdf_file_is_not_read_whole(server, tmp_path):
    """Opening a large netCDF file reads some blocks of it only."""
    big = xr.Dataset({"t": (("y", "x"), np.random.default_rng(0).random((400, 4000)))})
    big.to_netcdf(tmp_path / "big.nc", engine="h5netcdf")
    server.cdn.publish(**{"big.nc": (tmp_path / "big.nc").read_bytes()})
    opened = server.result().open_dataset()
    assert float(opened["t"][0, 0]) == float(big["t"][0, 0])
    assert 0 < server.cdn.asked("big.nc") <= 5


def test_the_mapper_of_a_result_opens_its_store(server, tmp_path):
    """`get_mapper` gives what xarray's own `open_zarr` takes."""
    publish_datasets(server, tmp_path)
    mapper = wildcast.get_mapper(server.result(), "r.zarr")
    xr.testing.assert_identical(xr.open_zarr(mapper, consolidated=True, chunks=None).load(), dataset())


def test_a_result_stays_readable_after_its_client_is_closed(server, tmp_path):
    """Closing the client frees its connections, not the results."""
    publish_datasets(server, tmp_path)
    found = server.result()
    server.client.close()
    server.cdn.accepted = set()
    with pytest.raises(wildcast.AccessRefusedError):
        found.fs.cat_file("a.nc")
    assert sum(path.endswith("results") for path in server.paths) == 2


def test_files_of_the_api_need_its_token(server, tmp_path):
    """Where the API serves the files, requests carry the token, and pickles do not."""
    server.storage_type = "server"
    publish_datasets(server, tmp_path)
    found = server.result()
    found.fs.cat_file("a.nc")
    assert server.tokens[-1] == f"Bearer {TOKEN}"
    assert TOKEN.encode() not in pickle.dumps(found.fs)
    assert found.signed_url is None
    assert found.expires_at is None


def test_a_file_that_the_api_lists_and_lacks_is_lost(server):
    """The server's own 404 for a file that it listed is no gap in the data."""
    server.storage_type = "server"
    server.cdn.objects["r.zarr/t/c/0"] = b"1"
    found = server.result()
    fs = found.fs
    server.cdn.objects.clear()
    with pytest.raises(wildcast.LostObjectError):
        fs.cat_file("r.zarr/t/c/0")


GONE = "the results of exec_1 have expired; submit the request again"


def refused(server, answer):
    """Read a file that the API serves, and answer so."""
    server.storage_type = "server"
    server.cdn.objects["a.nc"] = b"12"
    fs = server.result().fs
    server.override = lambda request: answer if request.url.path.endswith("a.nc") else None
    with pytest.raises(wildcast.ReadError) as caught:
        fs.cat_file("a.nc")
    return caught.value


@pytest.mark.parametrize("code", [400, 401, 403, 410])
@pytest.mark.parametrize("body", [{"error": GONE}, {"detail": GONE}, {"detail": {"error": GONE}}])
def test_a_file_that_the_api_refuses_keeps_its_sentence(server, code, body):
    """Results that expire while they are read say so, in the words of either server, and are no gap in the data."""
    error = refused(server, JSONResponse(body, code))
    assert isinstance(error, wildcast.AccessRefusedError)
    assert error.status == code
    assert str(error) == f"{server.url} refused 'a.nc' ({code}): {GONE}"


@pytest.mark.parametrize("code", [409, 502])
def test_any_other_error_of_the_api_keeps_its_sentence(server, code):
    """What the server says about a file is in the message, whatever its status."""
    assert "a.nc is not in its store" in str(refused(server, JSONResponse({"error": "a.nc is not in its store"}, code)))


@pytest.mark.parametrize(
    "body", ["<h1>400</h1>", "", "[]", '{"error": 1}', '{"detail": [1]}', '{"error": "' + "x" * 100_000 + '"}']
)
def test_what_is_no_error_of_the_api_is_not_repeated(server, body):
    """A page, or something endless, does not become part of a message."""
    error = refused(server, Response(body, 400))
    assert isinstance(error, wildcast.AccessRefusedError)
    assert (
        str(error) == f"{server.url} refused 'a.nc' (400): it gives no reason; open the result again, with a token "
        "that may read it."
    )


def test_a_client_says_how_often_its_results_are_read(server):
    """And how long a connection may stay silent; on both faces."""
    retry = wildcast.Retry(attempts=2, base=0.001, cap=0.002)
    server.cdn.publish(**{"a.bin": b"1"})
    server.cdn.fault = lambda path, _: Response("no", 503) if path == "a.bin" else None
    with wildcast.Client(server.url, read_timeout=7, read_retry=retry) as client:
        result = client.submit("wf").result()
    with pytest.raises(wildcast.StoreUnavailableError):
        result.fs.cat_file("a.bin")
    assert server.cdn.asked("a.bin") == 2

    async def awaited():
        async with wildcast.AsyncClient(server.url, read_timeout=7, read_retry=retry) as client:
            return await (await client.submit("wf")).result()

    expected = {"timeout": 7.0, "retry": retry, "fill_missing": False}
    assert result._reading == asyncio.run(awaited())._reading == expected
    with pytest.raises(ValueError, match="read_timeout=60"):
        wildcast.Client(server.url, read_timeout="soon")


@pytest.mark.parametrize(("path", "error"), [("b", wildcast.MissingFileError), ("d", wildcast.NotAFileError)])
def test_what_is_no_file_is_an_error_that_says_what_to_do(server, path, error):
    """Whether the manifest or the CDN tells."""
    server.cdn.publish(**{"d/f": b"1"})
    result = server.result()
    with pytest.raises(error, match=error.advice):
        result.fs.cat_file(path)
    for ask in (lambda: result.download("d", "typo"), lambda: result.sign("typo"), lambda: result.fs.get("typo*", "d")):
        with pytest.raises(wildcast.MissingFileError, match="its `paths` say what there is"):
            ask()
    server.cdn.objects.clear()
    with pytest.raises(wildcast.MissingFileError, match="its `paths` say what there is"):
        server.cdn.fs().cat_file("d/f")


def test_a_servers_sentence_is_one_short_line(server):
    """It is cut to a length, has no control characters, and smuggles no words that zarr reads meaning into."""
    text = str(refused(server, JSONResponse({"error": "not satisfiable:\n\x1b[31m" + "long " * 200}, 400)))
    assert "(400): not-satisfiable: [31mlong long" in text
    assert len(text) < 400
    assert text.isprintable()
    assert text.endswith("…")


def test_a_cdns_words_are_not_repeated(server):
    """A CDN's answer may hold the signed URL, so that only the API's own is shown."""
    server.cdn.objects["a.nc"] = b"12"
    fs = server.result().fs
    server.cdn.fault = lambda path, _request: JSONResponse({"error": "canary"}, 400) if path == "a.nc" else None
    with pytest.raises(wildcast.ReadError, match="answered 400") as caught:
        fs.cat_file("a.nc")
    assert "canary" not in str(caught.value)


def test_the_cdn_never_sees_the_token(server):
    """The API's token is not sent to the CDN."""
    server.cdn.objects["a.nc"] = b"12"
    server.result().fs.cat_file("a.nc")
    assert all("authorization" not in headers for headers in server.cdn.headers)


def test_a_file_is_downloaded_below_the_directory(server, tmp_path):
    """The file's own path is kept below the directory that was named."""
    server.cdn.publish(**{"plots/map 1.png": b"png"})
    target = server.result().download_file("plots/map 1.png", tmp_path / "new")
    assert target == tmp_path / "new" / "plots" / "map 1.png"
    assert target.read_bytes() == b"png"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    "path", ["../up", "a/../../up", "/etc/x", "C:\\x", "C:x", "..\\up", "a\\..\\..\\up", "", "a//b", "a\0b"]
)
def test_a_path_that_leaves_the_directory_is_refused(server, tmp_path, path):
    """A name that would be written elsewhere, on any system, is refused before anything is asked for."""
    with pytest.raises(wildcast.UnsafePathError):
        server.result().download_file(path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_out_of_the_directory_is_not_followed(server, tmp_path):
    """A directory of the target that is a link to elsewhere is refused."""
    server.cdn.publish(**{"plots/a/map.png": b"png"})
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "plots").symlink_to(outside)
    with pytest.raises(wildcast.UnsafePathError, match="link"):
        server.result().download_file("plots/a/map.png", inside)
    assert list(outside.iterdir()) == []


def test_a_link_in_the_files_place_is_replaced(server, tmp_path):
    """The download takes the link's place and leaves what it points to alone."""
    server.cdn.publish(**{"map.png": b"png"})
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "map.png").symlink_to(tmp_path / "precious")
    server.result().download_file("map.png", tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "map.png").read_bytes() == b"png"
