"""Results behind fsspec's caches, which know files by their paths alone: those of one are never those of another."""

import warnings
from datetime import UTC, datetime

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

import wildcast
from wildcast.contract.manifest import Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH

NAMES = ("exec_1769560728_10ed9d3c", "exec_1769560729_10ed9d3c", "exec_1769560729_10ed9d3c-2", "a/run", "b/run")
"""Two executions, another place of the second one, and two directories that were published by hand."""

CACHES = ("simplecache", "filecache", "blockcache")

# fsspec's block cache leaves the closing of its file to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)


def store(directory, value):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        xr.Dataset({"x": ("t", np.full(4, value))}).to_zarr(directory / "a.zarr", zarr_format=3)
    (directory / "f").write_bytes(f"{value:.1f}".encode())
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def results(serve_app, manifest_row, tmp_path_factory):
    """The results of `NAMES`, which have the same paths and sizes, and other values; gives their signed URLs."""
    published = {}
    for number, name in enumerate(NAMES):
        files = store(tmp_path_factory.mktemp("o"), float(number))
        rows = [manifest_row(path, body) for path, body in files.items()]
        head = {"execution": name, "attempt": 1, "created_at": datetime(2026, 1, 1, tzinfo=UTC), "verified": "local"}
        files[MANIFEST_PATH] = encode_manifest(Manifest.of(rows, **head, datasets=()))
        published |= {f"{name}/{path}": body for path, body in files.items()}

    async def answer(request):
        body = published.get(request.path_params["path"])
        if body is None:
            return Response("no", 404)
        first, _, last = request.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not first:
            return Response(body)
        end = int(last) + 1 if last else len(body)
        return Response(body[int(first) : end], 206, headers={"Content-Range": f"bytes {first}-{end - 1}/{len(body)}"})

    with serve_app(Starlette(routes=[Route("/outputs/{path:path}", answer, methods=["GET", "HEAD"])])) as url:
        yield [f"{url}/outputs/{name}/*?Signature=s" for name in NAMES]


def chained(cache, signed_url, directory):
    return {"wildcast": {"signed_url": signed_url}, cache: {"cache_storage": str(directory)}}


@pytest.mark.parametrize("cache", CACHES)
def test_one_cache_is_for_all_results(results, tmp_path, cache):
    """By the URLs that name them, each has its own values, the first time and from the cache."""
    for _ in range(2):
        for number, signed_url in enumerate(results):
            url = wildcast.SignedFileSystem(signed_url).unstrip_protocol("a.zarr")
            options = chained(cache, signed_url, tmp_path)
            opened = xr.open_zarr(f"{cache}::{url}", storage_options=options, chunks=None)
            assert opened["x"].to_numpy().tolist() == [number] * 4
            with fsspec.open(f"{cache}::{url.replace('a.zarr', 'f')}", **options) as file:
                assert float(file.read()) == number
    assert len(list(tmp_path.iterdir())) >= len(NAMES)


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_is_not_filled_by_paths_that_every_result_has(results, tmp_path, cache):
    """What does not say of which result it is gets no place in a cache, and the sentence says what to write."""
    for signed_url in results:
        options = chained(cache, signed_url, tmp_path)
        with (
            pytest.raises(wildcast.InvalidUrlError, match=r"wildcast://\w[\w-]+/f"),
            fsspec.open(f"{cache}::wildcast://f", **options) as file,
        ):
            file.read()
        cached = fsspec.filesystem(cache, fs=wildcast.SignedFileSystem(signed_url), cache_storage=str(tmp_path))
        if cache != "blockcache":  # which keeps nothing of what is read at once
            with pytest.raises(wildcast.InvalidUrlError):
                cached.cat("a.zarr/zarr.json")


def test_a_name_is_not_another_results(results):
    """A URL that names one opens no other one, nor another place of its execution."""
    for name in NAMES[1:3]:
        fs = wildcast.SignedFileSystem(results[0])
        assert not fs.exists(f"wildcast://{name}/f")
        with pytest.raises(wildcast.MissingFileError):
            fs.cat_file(f"{name}/f")
    with pytest.raises(wildcast.MissingFileError):
        wildcast.SignedFileSystem(results[1]).cat_file(f"{NAMES[2]}/f")


def test_named_paths_are_as_good_as_others(results):
    """Whatever is listed by a named path has a named path, too, which leads to it again."""
    fs, name = wildcast.SignedFileSystem(results[2]), NAMES[2]
    assert fs.unstrip_protocol("a.zarr/") == f"wildcast://{name}/a.zarr"
    assert fs.unstrip_protocol(f"wildcast://{name}/f") == f"wildcast://{name}/f"
    assert (fs.cat(f"{name}/f"), fs.cat("f")) == (b"2.0", b"2.0")
    assert fs.ls(f"wildcast://{name}", detail=False) == [f"{name}/a.zarr", f"{name}/f"]
    assert fs.ls("", detail=False) == ["a.zarr", "f"]
    assert fs.info(f"{name}/f")["name"] == f"{name}/f"
    assert fs.glob(f"{name}/*") == [f"{name}/a.zarr", f"{name}/f"]
    found = fs.find(name)
    assert found == [f"{name}/{path}" for path in fs.find("")]
    assert [fs.cat(path) for path in found] == list(fs.cat("", recursive=True, on_error="omit").values())
    assert list(fs.get_mapper(f"wildcast://{name}/a.zarr")) == list(fs.get_mapper("a.zarr"))
    options = {"signed_url": results[2]}
    group = zarr.open_group(f"wildcast://{name}/a.zarr", mode="r", storage_options=options, use_consolidated=False)
    assert list(group) == ["x"]
    assert group["x"][:].tolist() == [2.0] * 4


def test_a_directory_of_the_results_name_is_not_the_result(cdn):
    """What lies in it keeps its own bytes, by the paths that are listed."""
    name = cdn.execution
    files = {"f": b"outer", f"{name}/f": b"inner", f"{name}/{name}": b"innermost"}
    cdn.publish(**files)
    fs = cdn.fs()
    listed = fs.find("")
    assert [fs.cat(path) for path in listed] == [files[key] for key in sorted(files)]
    assert [fs.info(path)["name"] for path in listed] == listed
    directory = next(path for path in fs.ls("", detail=False) if fs.isdir(path))
    assert sorted(fs.cat(path) for path in fs.ls(directory, detail=False)) == [b"inner", b"innermost"]


def test_files_of_two_results_have_different_keys(results):
    """A cache that checks whether a file has changed sees that it is another one's."""
    systems = [wildcast.SignedFileSystem(url) for url in results]
    assert len({fs.ukey("f") for fs in systems}) == len({fs.checksum("f") for fs in systems}) == len(NAMES)
    assert systems[0].ukey("f") == wildcast.SignedFileSystem(results[0]).ukey("f")


def test_a_result_gives_its_urls(server):
    """They name it, and open with its storage options."""
    server.cdn.publish(**{"d/f": b"1"})
    result = server.result()
    assert result.url("d/f") == result.url(f"{server.id}/d/f") == f"wildcast://{server.id}/d/f"
    assert result.url() == f"wildcast://{server.id}"
    with fsspec.open(result.url("d/f"), **result.storage_options()) as file:
        assert file.read() == b"1"
