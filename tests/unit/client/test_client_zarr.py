"""Real zarr stores through the signed filesystem: right values or an exception, never fill values."""

import asyncio
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.responses import Response, StreamingResponse
from zarr.codecs import BytesCodec, ShardingCodec
from zarr.storage import FsspecStore

import wildcast
from wildcast.contract.naming import MANIFEST_PATH

FILL = -1.0


def source(shape=(12, 10)):
    values = np.arange(np.prod(shape), dtype="float64").reshape(shape)
    return xr.Dataset({"t": (("time", "x"), values, {"units": "K"})}, coords={"time": np.arange(shape[0])})


def write_store(directory, zarr_format, encoding=None):
    options = {"chunks": (3, 5), ("fill_value" if zarr_format == 3 else "_FillValue"): FILL, **(encoding or {})}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        source().to_zarr(directory, zarr_format=zarr_format, encoding={"t": options}, consolidated=True)
    return {path.relative_to(directory.parent).as_posix(): path.read_bytes() for path in files_of(directory)}


def files_of(directory):
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.fixture(params=[2, 3, "sharded"])
def store(request, cdn, tmp_path):
    """A published store `r.zarr`, of each format; gives the CDN."""
    sharded = {"shards": (6, 10)} if request.param == "sharded" else {}
    version = 3 if sharded else request.param
    cdn.publish(**write_store(tmp_path / "r.zarr", version, sharded))
    return cdn


def open_store(fs, zarr_format=None):
    return xr.open_zarr(fs.get_mapper("r.zarr"), consolidated=True, chunks=None, zarr_format=zarr_format)


def is_chunk(path):
    return "/t/" in path and not path.endswith((".zarray", ".zattrs", "zarr.json"))


def test_a_store_reads_as_it_was_written(store):
    """Every value behind the signed URL is the value of the source."""
    mapper = wildcast.create_cloudfront_mapper(store.signed(), "r.zarr")
    xr.testing.assert_identical(xr.open_zarr(mapper, consolidated=True, chunks=None).load(), source())


def test_a_store_opens_with_its_format_and_group_in_few_requests(store):
    """Naming the format spares the probing of other formats' keys."""
    is2 = "r.zarr/.zmetadata" in store.objects
    open_store(store.fs(), zarr_format=2 if is2 else 3)
    assert metadata_requests(store) == [MANIFEST_PATH, "r.zarr/.zmetadata" if is2 else "r.zarr/zarr.json"]


def test_a_store_opens_in_two_requests_without_its_format(store):
    """The manifest spares the keys of other formats, and the consolidated metadata those that they repeat."""
    open_store(store.fs())
    assert len(metadata_requests(store)) == 2


def metadata_requests(cdn):
    """What was asked for, the index coordinate aside, which xarray reads when it opens a store."""
    return [path for _, path, _ in cdn.requests if not path.startswith(("r.zarr/time/0", "r.zarr/time/c/0"))]


def truncated(_path, _request):
    async def some():
        yield b"123"

    return StreamingResponse(some(), headers={"Content-Length": "1000"})


FAULTS = {
    "403": lambda *_: Response("no", 403),
    "404 listed": lambda *_: Response("no", 404),
    "416": lambda *_: Response("no", 416),
    "500": lambda *_: Response("no", 500),
    "503": lambda *_: Response("no", 503),
    "302": lambda *_: Response("", 302, headers={"Location": "http://127.0.0.1:9/"}),
    "login page": lambda *_: Response("<html>log in</html>", 200, media_type="text/html"),
    "empty": lambda *_: Response(b"", 200),
    "no content": lambda *_: Response(status_code=204),
    "truncated": truncated,
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_reads_as_values(store, name):
    """Whatever goes wrong after the opening, reading raises; no value is invented."""
    data = open_store(store.fs())
    store.fault = lambda path, request: FAULTS[name](path, request) if is_chunk(path) else None
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a codec's own error is as good as ours
        data["t"].to_numpy()
    assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("name", ["403", "404 listed", "500", "302", "truncated"])
def test_a_fault_in_the_middle_reads_as_an_error(store, name):
    """The first object arrives and the rest do not: the whole read raises."""
    data = open_store(store.fs())
    done = threading.Semaphore(1)

    def later(path, request):
        if not is_chunk(path) or done.acquire(blocking=False):
            return None
        return FAULTS[name](path, request)

    store.fault = later
    with pytest.raises(wildcast.ReadError):
        data["t"].to_numpy()


@pytest.mark.parametrize("name", ["403", "500", "truncated", "302"])
def test_no_fault_opens_as_an_empty_dataset(store, name):
    """A store that cannot be read does not open as one without variables."""
    store.fault = FAULTS[name]
    with pytest.raises(wildcast.ReadError):
        open_store(store.fs())


def test_a_server_that_answers_everything_whole_reads_right(store):
    """A CDN that ignores ranges gives the same values."""
    store.fault = lambda path, _: Response(store.objects[path]) if path in store.objects else None
    xr.testing.assert_identical(open_store(store.fs()).load(), source())


def test_failures_that_pass_do_not_show(store):
    """One failure for each object delays the read and changes nothing."""
    seen = set()

    def first_time(path, _request):
        if path in seen:
            return None
        seen.add(path)
        return Response("busy", 503)

    store.fault = first_time
    xr.testing.assert_identical(open_store(store.fs()).load(), source())


def test_a_chunk_that_was_never_written_reads_as_fill(cdn, tmp_path):
    """What the manifest does not list is a gap in the data, and reads as one."""
    objects = write_store(tmp_path / "r.zarr", 3)
    del objects["r.zarr/t/c/0/0"]
    cdn.publish(**objects)
    values = open_store(cdn.fs())["t"].to_numpy()
    assert (values[:3, :5] == FILL).all()
    assert np.array_equal(values[3:], source()["t"].to_numpy()[3:])


def test_a_store_without_manifest_reads_its_gaps_by_404(cdn, tmp_path):
    """Below a prefix of others only a 404 makes a gap, and a warning says that nothing lists it."""
    objects = write_store(tmp_path / "r.zarr", 3)
    del objects["r.zarr/t/c/0/0"]
    cdn.objects.update(objects)
    opened = open_store(cdn.fs())
    with pytest.warns(wildcast.UnlistedWarning, match="'r.zarr/t/c/0/0'"):
        values = opened["t"].to_numpy()
    assert (values[:3, :5] == FILL).all()


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("is_listed", [True, False])
def test_a_shard_that_was_cut_off_has_no_gaps(cdn, tmp_path, index_location, is_listed):
    """Where its index is and the chunks are not, they are lost and not "never written", with a manifest or without."""
    shard = ShardingCodec(chunk_shape=(16,), codecs=[BytesCodec()], index_location=index_location)
    array = zarr.create_array(
        tmp_path / "s.zarr", shape=(64,), chunks=(64,), dtype="i4", fill_value=0, compressors=None, serializer=shard
    )
    array[:] = np.arange(1, 65)
    cdn.publish(**{f"s.zarr/{name}": (tmp_path / "s.zarr" / name).read_bytes() for name in ("zarr.json", "c/0")})
    if not is_listed:
        del cdn.objects[MANIFEST_PATH]
    cdn.objects["s.zarr/c/0"] = cdn.objects["s.zarr/c/0"][: 4 * 16 + 4 + 64]
    opened = zarr.open_array(FsspecStore(cdn.fs(), read_only=True, path="s.zarr"), mode="r")
    for part in (slice(None), slice(20, 44), slice(50, None)):
        with pytest.raises((wildcast.ReadError, ValueError)) as caught:
            opened[part]
        assert not isinstance(caught.value, FileNotFoundError)


OPENERS = {
    "mapper": lambda cdn, path: xr.open_zarr(wildcast.create_cloudfront_mapper(cdn.signed(), path), chunks=None),
    "consolidated": lambda cdn, path: xr.open_zarr(cdn.fs().get_mapper(path), consolidated=True, chunks=None),
    "url": lambda cdn, path: xr.open_zarr(f"wildcast://{path}", storage_options={"signed_url": cdn.signed()}),
    "group": lambda cdn, path: zarr.open_group(FsspecStore(cdn.fs(), read_only=True, path=path), mode="r"),
    "array": lambda cdn, path: zarr.open_array(FsspecStore(cdn.fs(), read_only=True, path=path), mode="r"),
}


@pytest.mark.parametrize("way", OPENERS)
@pytest.mark.parametrize("path", ["wrong.zarr", "", "dir", "r.zar"])
def test_a_wrong_path_is_answered_with_the_right_ones(store, way, path):
    """Who names no store, or none that is there, reads which there are."""
    store.publish(**{"dir/a b.zarr/zarr.json": b"{}", "notes.txt": b"1"})
    with pytest.raises(wildcast.DatasetError, match=r"'dir/a b.zarr', 'r.zarr'"):
        OPENERS[way](store, path)


def test_what_a_store_lacks_is_missing_and_nothing_else(store):
    """Looking for a group or an array in a store finds none, and that is no error."""
    group = zarr.open_group(FsspecStore(store.fs(), read_only=True, path="r.zarr"), mode="r")
    assert ("t" in group, "nothing" in group, "no/thing" in group) == (True, False, False)
    with pytest.raises(wildcast.MissingFileError):
        store.fs().cat_file("r.zarr/nothing/zarr.json")


def test_a_result_without_stores_lacks_their_metadata(cdn):
    """Where there is no store to name, the file is missing."""
    cdn.publish(**{"notes.txt": b"1"})
    with pytest.raises(wildcast.MissingFileError):
        cdn.fs().cat_file("r.zarr/zarr.json")


def test_threads_read_concurrently(store):
    """Several threads share one filesystem and read right values."""
    data = open_store(store.fs())
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda i: data["t"][i].to_numpy(), range(12)))
    assert np.array_equal(np.stack(rows), source()["t"].to_numpy())


def test_an_unconsolidated_store_is_listed_from_the_manifest(store):
    """Without consolidated metadata the groups' members come from the manifest."""
    data = xr.open_zarr(store.fs().get_mapper("r.zarr"), consolidated=False, chunks=None)
    xr.testing.assert_identical(data.load(), source())


def test_the_root_of_a_publication_can_be_a_store(cdn, tmp_path):
    """A store that is the publication itself opens with an empty path, listed or consolidated."""
    objects = write_store(tmp_path / "r.zarr", 3)
    cdn.publish(**{path.removeprefix("r.zarr/"): body for path, body in objects.items()})
    mapper = wildcast.create_cloudfront_mapper(cdn.signed())
    for consolidated in (True, False):
        data = xr.open_zarr(mapper, consolidated=consolidated, chunks=None)
        xr.testing.assert_identical(data.load(), source())


def test_zarr_reads_in_a_users_own_loop(store):
    """Zarr's asynchronous interface works in the caller's loop."""
    fs = store.fs()

    async def read():
        group = await zarr.api.asynchronous.open_group(FsspecStore(fs, path="r.zarr", read_only=True), mode="r")
        return await (await group.getitem("t")).getitem(slice(None))

    assert np.array_equal(asyncio.run(read()), source()["t"].to_numpy())


def test_an_open_dataset_is_pickled(store):
    """A dataset goes to another process with all that it needs to be read there."""
    data = pickle.loads(pickle.dumps(open_store(store.fs())))  # noqa: S301 - our own bytes
    xr.testing.assert_identical(data.load(), source())


def test_a_mapper_reads_missing_keys_as_key_errors_and_refusals_as_refusals(store):
    """The mapping itself tells "not there" from "not allowed"."""
    mapper = wildcast.create_cloudfront_mapper(store.signed(), "r.zarr/")
    assert "nothing" not in mapper
    with pytest.raises(KeyError):
        mapper["nothing"]
    store.accepted = set()
    fresh = wildcast.create_cloudfront_mapper(store.signed(), "r.zarr")
    with pytest.raises(wildcast.AccessRefusedError):
        fresh["zarr.json"]


def test_a_mapper_of_something_else_is_refused():
    """A text that is no URL is refused at once, and not repeated in the error."""
    with pytest.raises(wildcast.InvalidUrlError) as caught:
        wildcast.create_cloudfront_mapper("outputs/*?Signature=canary")
    assert "canary" not in str(caught.value)
