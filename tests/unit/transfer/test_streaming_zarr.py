"""The zarr store whose chunks go straight to the object store."""

import asyncio
import functools
import inspect
import pickle

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync
from zarr.testing.store import StoreTests

from wildcast.contract.naming import is_metadata
from wildcast_server import RunContext
from wildcast_server.errors import NetworkError, StoreIoError
from wildcast_server.store import open_store
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.mark import MARK_PATH
from wildcast_server.transfer.streamed import Streamed
from wildcast_server.transfer.streaming import StreamingSink
from wildcast_server.transfer.zarr_stream import StreamedStore

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
UNSPECIFIED = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part in the Zarr format 3")


def _synchronous(test):
    """Make a plain test of an asynchronous one; its parameters and marks stay."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class TestZarrsOwnSuite(StoreTests[StreamedStore, Buffer]):
    """What zarr expects of any store."""

    store_cls = StreamedStore
    buffer_cls = Buffer

    @pytest.fixture
    def store_kwargs(self, tmp_path):
        streamed = Streamed(open_store("memory://"), "p", tmp_path / "ledger")
        yield {"streamed": streamed, "path": "a.zarr", "directory": tmp_path / "a.zarr"}
        streamed.close()

    @pytest.fixture
    def open_kwargs(self, store_kwargs):
        return dict(store_kwargs)

    @pytest.fixture
    def store(self, open_kwargs):
        return asyncio.run(self.store_cls.open(**open_kwargs))

    @pytest.fixture
    def store_not_open(self, store_kwargs):
        return self.store_cls(**store_kwargs)

    async def set(self, store, key, value):
        if is_metadata(key):
            (store._documents.directory / key).parent.mkdir(parents=True, exist_ok=True)
            (store._documents.directory / key).write_bytes(value.to_bytes())
        else:
            store._streamed.put(f"a.zarr/{key}", value.to_bytes())

    async def get(self, store, key):
        if is_metadata(key):
            return Buffer.from_bytes((store._documents.directory / key).read_bytes())
        return Buffer.from_bytes(store._streamed.store.get(f"p/a.zarr/{key}"))

    def test_store_repr(self, store):
        """It says where the chunks go."""
        assert repr(store) == "StreamedStore('memory://', 'p/a.zarr')"

    def test_store_supports_writes(self, store):
        """It is for writing."""
        assert store.supports_writes

    def test_store_supports_listing(self, store):
        """It knows what it wrote."""
        assert store.supports_listing

    def test_serializable_store(self, store):
        """Another process cannot write it; the error says what can be done."""
        with pytest.raises(TypeError, match=r"write it from the workflow's own process, .* below context"):
            pickle.dumps(store)


for _name, _test in inspect.getmembers(StoreTests, inspect.iscoroutinefunction):
    if _name.startswith("test_") and _name not in vars(TestZarrsOwnSuite):
        setattr(TestZarrsOwnSuite, _name, _synchronous(_test))
# Of methods that a store need not have.
for _name in ("get_sync", "get_sync_missing", "set_sync", "delete_sync", "delete_sync_missing"):
    setattr(TestZarrsOwnSuite, f"test_{_name}", None)


@pytest.fixture
def objects():
    return open_store("memory://")


@pytest.fixture
def sink(objects, tmp_path):
    (tmp_path / "output").mkdir()
    made = StreamingSink(tmp_path / "output", Streamed(objects, "p/exec", tmp_path / "ledger"))
    yield made
    made.abort()


@pytest.fixture
def store(sink, tmp_path):
    return RunContext("e", tmp_path / "output", sink=sink).zarr_store("a.zarr")


def rows(tmp_path):
    return read_ledger(tmp_path / "ledger")


def on_disk(tmp_path):
    output = tmp_path / "output"
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    return found - {MARK_PATH}


def published(objects, tmp_path, into):
    """Put the documents and the objects together as a publication would; return where."""
    for path in on_disk(tmp_path):
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        (into / path).write_bytes((tmp_path / "output" / path).read_bytes())
    for path, row in rows(tmp_path).items():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        data = objects.get(f"p/exec/{path}")
        assert len(data) == row.size
        (into / path).write_bytes(data)
    return into / "a.zarr"


def dataset(start, count=3):
    values = np.arange(start * 20, (start + count) * 20, dtype="f4").reshape(count, 4, 5)
    return xr.Dataset({"t2m": (("time", "y", "x"), values)}, coords={"time": np.arange(start, start + count)})


@UNSPECIFIED
@FORMATS
def test_xarray_writes_and_appends(store, objects, tmp_path, zarr_format):
    """What is read back from the publication is the dataset; nothing but documents was on disk."""
    encoding = {"t2m": {"chunks": (2, 4, 5)}}
    dataset(0).to_zarr(store, mode="w", zarr_format=zarr_format, consolidated=True, encoding=encoding)
    # Three steps in chunks of two: the second chunk is read, changed and written again.
    dataset(3).to_zarr(store, append_dim="time", consolidated=True)
    assert all(is_metadata(path) for path in on_disk(tmp_path))
    xr.testing.assert_identical(xr.open_zarr(store).load(), dataset(0, 6))
    found = published(objects, tmp_path, tmp_path / "published")
    with xr.open_zarr(found, consolidated=True) as opened:
        xr.testing.assert_identical(opened.load(), dataset(0, 6))


@FORMATS
def test_a_part_of_a_chunk_is_changed(store, objects, tmp_path, zarr_format):
    """The newer row of the chunk is that of the newer object."""
    array = zarr.create_array(store, shape=10, chunks=5, dtype="i4", zarr_format=zarr_format, compressors=None)
    array[:] = 1
    array[3:7] = 2
    assert array[:].tolist() == [1, 1, 1, 2, 2, 2, 2, 1, 1, 1]
    for path, row in rows(tmp_path).items():
        assert row.etag == objects.head(f"p/exec/{path}").etag
    lines = (tmp_path / "ledger").read_text().splitlines()
    assert (len(lines), len(rows(tmp_path))) == (4, 2)


def test_shards_are_written_and_read_in_ranges(store, objects, tmp_path):
    """One object holds many chunks; reading one of them reads a part of the object."""
    array = zarr.create_array(store, shape=(8, 8), shards=(8, 8), chunks=(2, 2), dtype="i4", compressors=None)
    values = np.arange(64, dtype="i4").reshape(8, 8)
    array[:] = values
    array[0, 0] = 100
    values[0, 0] = 100
    assert list(rows(tmp_path)) == ["a.zarr/c/0/0"]
    assert array[2:4, 2:4].tolist() == values[2:4, 2:4].tolist()
    assert np.array_equal(zarr.open_array(published(objects, tmp_path, tmp_path / "published"))[:], values)


def test_what_is_deleted_is_gone(store, objects, tmp_path):
    """Chunks that become fill values, arrays that shrink and groups that are deleted leave no object and no row."""
    group = zarr.open_group(store, mode="w")
    first = group.create_array("first", shape=6, chunks=2, dtype="i4", fill_value=0)
    first[:] = 1
    first[0:2] = 0
    first.resize(4)
    assert list(rows(tmp_path)) == ["a.zarr/first/c/1"]
    second = group.create_array("second", shape=2, chunks=2, dtype="i4")
    second[:] = 1
    del group["first"]
    assert list(rows(tmp_path)) == ["a.zarr/second/c/0"]
    assert [info.key for info in objects.list("p")] == ["p/exec/a.zarr/second/c/0"]
    assert on_disk(tmp_path) == {"a.zarr/zarr.json", "a.zarr/second/zarr.json"}
    assert sorted(group) == ["second"]


def test_writing_anew_replaces_everything(store, objects, tmp_path):
    """Mode "w" begins with an empty store."""
    dataset(0).to_zarr(store, mode="w", consolidated=False)
    zarr.create_array(store, name="other", shape=1, dtype="i4", overwrite=True)[:] = 1
    zarr.open_group(store, mode="w")
    assert (rows(tmp_path), list(objects.list("p"))) == ({}, [])


def test_a_lost_chunk_is_an_error_and_no_fill_value(store, objects):
    """The run knows that it wrote it."""
    array = zarr.create_array(store, shape=2, chunks=2, dtype="i4", fill_value=0)
    array[:] = 1
    objects.delete("p/exec/a.zarr/c/0")
    with pytest.raises(StoreIoError, match="was written by this run and is not there any more"):
        array[:]


def test_the_stores_failure_is_the_workflows(tmp_path):
    """What cannot be written raises where it is written."""

    class Down:
        uri, etags_are_md5, checks_crc64nvme = "s3://bucket", False, True

        def put(self, *_args: object):
            raise NetworkError("the store is down", "s3://bucket/x")

    sink = StreamingSink(tmp_path, Streamed(Down(), "p", tmp_path / "ledger"))
    array = zarr.create_array(sink.zarr_store("a.zarr"), shape=2, chunks=2, dtype="i4")
    with pytest.raises(NetworkError, match="the store is down"):
        array[:] = 1
    sink.abort()


def test_a_chunk_larger_than_a_part_goes_up_in_parts(tmp_path, objects):
    """As a file of that size would."""
    part = 5 << 20
    sink = StreamingSink(tmp_path, Streamed(objects, "p", tmp_path / "ledger", part_size=part))
    value = np.random.default_rng(1).integers(0, 255, 2 * part + 3, dtype="u1")
    sync(sink.zarr_store("a").set("c/0", Buffer.from_bytes(value.tobytes())))
    sink.finish()
    row = read_ledger(tmp_path / "ledger")["a/c/0"]
    assert (row.size, row.is_multipart) == (2 * part + 3, True)
    assert objects.get("p/a/c/0") == value.tobytes()


def test_many_chunks_in_many_threads_are_all_there(tmp_path, objects):
    """Requests are bounded, and each chunk's last row is that of its object."""
    streamed = Streamed(objects, "p", tmp_path / "ledger", slots=3)
    store = StreamedStore(streamed, "a", tmp_path / "a")

    async def write_all():
        await asyncio.gather(*(store.set(f"c/{n % 20}", Buffer.from_bytes(bytes([n]) * 100)) for n in range(100)))

    asyncio.run(write_all())
    found = read_ledger(tmp_path / "ledger")
    assert len(found) == 20
    for path, row in found.items():
        assert row.etag == objects.head(f"p/{path}").etag
    streamed.close()


def test_after_the_run_nothing_is_written(sink, store, tmp_path):
    """A thread that the workflow left behind is told so."""
    sink.finish()
    with pytest.raises(RuntimeError, match="the run has ended"):
        sync(store.set("c/0", Buffer.from_bytes(b"x")))
    assert rows(tmp_path) == {}


def test_a_store_that_has_chunks_on_disk_is_refused(sink, tmp_path):
    """One place holds a store's chunks."""
    zarr.create_array(tmp_path / "output" / "b.zarr", shape=2, chunks=2, dtype="i4")[:] = 1
    with pytest.raises(FileExistsError, match=r"b\.zarr/c/0 is in the output directory already"):
        sink.zarr_store("b.zarr")


@pytest.mark.parametrize("key", ["../x", "a/../../x", ".wildcast/x", "/x", "/zarr.json", "../zarr.json"])
def test_keys_stay_inside_the_store(store, key):
    """A key is no way out of the output."""
    with pytest.raises(ValueError, match=r"relative path|reserved"):
        sync(store.get(key, default_buffer_prototype()))


def test_the_last_store_of_a_name_is_the_first(sink, store):
    """Asking twice for one store gives the same one."""
    assert sink.zarr_store("a.zarr") == store
    assert sink.zarr_store("b.zarr") != store
    assert store != "a.zarr"
    assert len({sink.zarr_store("a.zarr"), store}) == 1
