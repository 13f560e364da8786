"""Reading a result for its archive: what is in it, what breaks it, and how far ahead it is read."""

import asyncio
import io
import os
import tarfile
import threading
import time
import tracemalloc
import zipfile
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.naming import MANIFEST_PATH
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import StoreIoError
from wildcast_server.http.archives import FORMATS, WHOLE_BYTES
from wildcast_server.store import ObjectInfo, StoreOptions, open_store
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.transfer.checksums import Crc64Nvme
from wildcast_server.usecases.archive import FROM_DISK, FROM_NETWORK, Archives
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.results import Results

ID = "exec_1_00000001"
PREFIX = f"outputs/{ID}"
LONG = os.urandom(2 * WHOLE_BYTES + 5)
FILES = {
    "a.zarr/c/0": b"chunk",
    "a.zarr/zarr.json": b"{}",
    "empty": b"",
    "long": LONG,
    "two blocks": LONG[: 2 * WHOLE_BYTES],
    "ö/日本.txt": b"x",
}
TIMEOUT = 10.0


class Watched(ObstoreStore):
    """A store in memory that answers after a while, and counts what is asked of it."""

    def __init__(self, latency=0.0) -> None:
        # Named as one over a network, which it imitates.
        super().__init__("s3://bucket", MemoryStore())
        self.latency = latency
        self.requests = 0
        self.bytes = 0
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def get(self, key, byte_range=None) -> bytes:
        with self._lock:
            self.requests += 1
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        time.sleep(self.latency)
        data = super().get(key, byte_range)
        with self._lock:
            self.at_once -= 1
            self.bytes += len(data)
        return data


class AllEmpty(Watched):
    """A store that has every file, empty, without having to be told so."""

    def head(self, key) -> ObjectInfo:
        return super().head(key) if key.endswith(MANIFEST_PATH) else ObjectInfo(key, 0, None, utc_now())


@pytest.fixture
def store():
    """A store in memory that counts."""
    return Watched()


def checksum(data):
    crc = Crc64Nvme()
    crc.update(data)
    return crc.base64()


def commit(store, rows):
    manifest = Manifest.of(
        [FileRow(path, size, crc, "", "") for path, (size, crc) in rows.items()],
        execution=ID,
        attempt=1,
        created_at=utc_now(),
        verified="crc64nvme",
        datasets=(),
    )
    store.put(f"{PREFIX}/{MANIFEST_PATH}", encode_manifest(manifest))


def publish(store, files):
    for path, data in files.items():
        store.put(f"{PREFIX}/{path}", data)
    commit(store, {path: (len(data), checksum(data)) for path, data in files.items()})


@pytest.fixture
def archives_of(records, bring_to):
    """Build the use case over a store that holds the result of a completed execution."""
    bring_to(ID, Status.COMPLETED)
    return lambda store: Archives(Results(Lookup(records), {"s3": store}, None))


def read(archive):
    async def collect():
        return b"".join([chunk async for chunk in archive.stream()])

    return asyncio.run(collect())


def open_zip(data):
    return zipfile.ZipFile(io.BytesIO(data))


def test_a_zip_has_every_file_and_the_manifest(archives_of, store):
    """Below the execution's id, in the manifest's order, and of the length that was announced."""
    publish(store, FILES)
    archive = archives_of(store).archive("simulate", ID, FORMATS["zip"])
    data = read(archive)
    assert len(data) == archive.size
    with open_zip(data) as opened:
        assert opened.namelist() == [f"{ID}/{path}" for path in [*FILES, MANIFEST_PATH]]
        for path, content in FILES.items():
            assert opened.read(f"{ID}/{path}") == content
        assert opened.read(f"{ID}/{MANIFEST_PATH}") == store.get(f"{PREFIX}/{MANIFEST_PATH}")


def test_a_tar_has_the_same(archives_of, store):
    """The other format, with the same names and bytes."""
    publish(store, FILES)
    archive = archives_of(store).archive("simulate", ID, FORMATS["tar"])
    data = read(archive)
    assert (len(data), archive.name) == (archive.size, f"simulate_{ID}.tar")
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        assert opened.getnames() == [f"{ID}/{path}" for path in [*FILES, MANIFEST_PATH]]
        assert opened.extractfile(f"{ID}/long").read() == LONG


def test_an_archive_can_be_sent_again(archives_of, store):
    """The same bytes each time, so its version is the same; another format is another version."""
    publish(store, FILES)
    archives = archives_of(store)
    first, second, tar = (archives.archive("simulate", ID, FORMATS[form]) for form in ("zip", "zip", "tar"))
    assert read(first) == read(first) == read(second)
    assert first.etag == second.etag != tar.etag


@pytest.mark.parametrize("path", ["a.zarr/c/0", "empty", "long", "ö/日本.txt"])
def test_a_lost_file_breaks_the_archive(archives_of, store, path):
    """Also an empty one: the manifest says that it is there."""
    publish(store, FILES)
    store.delete(f"{PREFIX}/{path}")
    with pytest.raises(StoreIoError, match="not in its store any more"):
        read(archives_of(store).archive("simulate", ID, FORMATS["zip"]))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("a.zarr/c/0", b"chun"),
        ("a.zarr/c/0", b"chunks"),
        ("a.zarr/c/0", b"churn"),
        ("empty", b"1"),
        ("long", LONG[:-1]),
        ("long", LONG[: WHOLE_BYTES + 1]),
        ("long", LONG[:WHOLE_BYTES]),
        ("long", LONG + b"1"),
        ("long", LONG[:9] + b"?" + LONG[10:]),
        ("two blocks", LONG),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_a_file_that_is_another_one_breaks_the_archive(archives_of, store, form, path, data):
    """Shorter, longer, or of the same size with other bytes, which the manifest's checksum tells."""
    publish(store, FILES)
    store.put(f"{PREFIX}/{path}", data)
    with pytest.raises(StoreIoError, match="not the file any more that was published"):
        read(archives_of(store).archive("simulate", ID, FORMATS[form]))


def test_what_is_wrong_is_never_sent_whole(archives_of, store):
    """The last piece of a file is held back until its checksum was found to be right."""
    publish(store, {"long": LONG})
    store.put(f"{PREFIX}/long", b"?" + LONG[1:])
    archive = archives_of(store).archive("simulate", ID, FORMATS["tar"])
    sent = []

    async def collect():
        async for chunk in archive.stream():
            sent.append(chunk)  # noqa: PERF401 - what was there before the error counts

    with pytest.raises(StoreIoError):
        asyncio.run(collect())
    assert sum(map(len, sent)) <= 2 * WHOLE_BYTES + 512


def test_a_lost_manifest_is_no_missing_result(archives_of, store):
    """Its loss is the store's failure, also where the manifest is still remembered."""
    publish(store, FILES)
    archives = archives_of(store)
    archives.archive("simulate", ID, FORMATS["zip"])
    store.delete(f"{PREFIX}/{MANIFEST_PATH}")
    with pytest.raises(StoreIoError, match="not in its store any more"):
        archives.archive("simulate", ID, FORMATS["zip"])


def test_small_objects_are_not_read_one_after_the_other(archives_of):
    """At 30 ms each, 400 objects would take 12 s."""
    store = Watched(latency=0.03)
    publish(store, {f"{number:03}": b"x" for number in range(400)})
    archive = archives_of(store).archive("simulate", ID, FORMATS["zip"])
    began = time.monotonic()
    read(archive)
    assert time.monotonic() - began < 4
    assert 8 < store.most_at_once <= FROM_NETWORK.requests


def settled(count):
    """Return what `count` returns once that no longer changes for a while."""
    deadline = time.monotonic() + TIMEOUT
    before, since = count(), time.monotonic()
    while time.monotonic() - since < 0.3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        if (now := count()) != before:
            before, since = now, time.monotonic()
    return before


def test_no_more_is_read_than_is_sent_and_the_bound(archives_of, store):
    """A client that takes one chunk and then nothing does not fill the memory."""
    publish(store, {f"{number:02}": bytes(WHOLE_BYTES // 2) for number in range(60)})
    archive = archives_of(store).archive("simulate", ID, FORMATS["tar"])
    before = store.bytes

    async def take_one():
        async with aclosing(archive.stream()) as chunks:
            await anext(chunks)
            return await asyncio.to_thread(settled, lambda: store.bytes)

    read_bytes = asyncio.run(take_one()) - before
    assert WHOLE_BYTES < read_bytes <= FROM_NETWORK.bytes + 3 * WHOLE_BYTES


def test_who_goes_away_ends_the_reading(archives_of):
    """What is in flight ends, and nothing new is asked for."""
    store = Watched(latency=0.01)
    publish(store, {f"{number:04}": b"x" * 5000 for number in range(2000)})
    archive = archives_of(store).archive("simulate", ID, FORMATS["zip"])

    async def take_one():
        async with aclosing(archive.stream()) as chunks:
            await anext(chunks)
        return store.requests

    at_the_end = asyncio.run(take_one())
    assert settled(lambda: store.requests) <= at_the_end + FROM_NETWORK.requests
    assert store.requests < 1000


def test_cancelling_whoever_waits_ends_the_reading(archives_of, caplog):
    """Also in the middle of a wait for the store; nothing is left for asyncio to complain of."""
    store = Watched(latency=0.2)
    publish(store, {f"{number:04}": b"x" for number in range(500)})
    archive = archives_of(store).archive("simulate", ID, FORMATS["zip"])

    async def wait_briefly():
        async with asyncio.timeout(0.05), aclosing(archive.stream()) as chunks:
            await anext(chunks)

    with pytest.raises(TimeoutError):
        asyncio.run(wait_briefly())
    assert settled(lambda: store.requests) <= FROM_NETWORK.requests + 1
    assert caplog.text == ""


def test_an_error_ahead_of_who_goes_away_is_not_overlooked(archives_of, store, caplog):
    """The next chunk may have failed already when nobody wants it any more."""
    publish(store, {"a": bytes(WHOLE_BYTES), "b": b"1"})
    store.delete(f"{PREFIX}/b")
    archive = archives_of(store).archive("simulate", ID, FORMATS["tar"])

    async def take_one():
        async with aclosing(archive.stream()) as chunks:
            await anext(chunks)
            await asyncio.to_thread(settled, lambda: store.requests)

    asyncio.run(take_one())
    assert caplog.text == ""


def open_files():
    """Return the names of the files that this process has open; others come and go meanwhile."""
    names = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.add(link.readlink().name)
    return names


def published_sparse(tmp_path, gigabytes):
    """Publish a sparse file in a store of files."""
    store = open_store(tmp_path.as_uri(), StoreOptions())
    size = gigabytes << 30
    commit(store, {"sparse": (size, checksum_of_zeros(size))})
    with (tmp_path / PREFIX / "sparse").open("wb") as file:
        file.truncate(size)
    return store


def checksum_of_zeros(size):
    crc, block = Crc64Nvme(), bytes(1 << 24)
    for _ in range(size >> 24):
        crc.update(block)
    return crc.base64()


def test_no_file_stays_open_while_nobody_reads(archives_of, tmp_path):
    """A client that takes nothing for an hour holds no descriptor."""
    archive = archives_of(published_sparse(tmp_path, 1)).archive("simulate", ID, FORMATS["tar"])

    async def take_one():
        async with aclosing(archive.stream()) as chunks:
            await anext(chunks)
            deadline = time.monotonic() + TIMEOUT
            while "sparse" in open_files():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)

    asyncio.run(take_one())


def test_memory_is_bounded_whatever_the_size(archives_of, tmp_path):
    """A file of 1 GiB is sent with what the bound allows."""
    archive = archives_of(published_sparse(tmp_path, 1)).archive("simulate", ID, FORMATS["zip"])

    async def length():
        return sum([len(chunk) async for chunk in archive.stream()])

    tracemalloc.start()
    try:
        assert asyncio.run(length()) == archive.size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < FROM_DISK.bytes + 4 * WHOLE_BYTES


@pytest.mark.long
def test_a_file_of_more_than_four_gibibytes(archives_of, tmp_path):
    """Its archive, written to disk, opens, and its checksum is right."""
    archive = archives_of(published_sparse(tmp_path, 5)).archive("simulate", ID, FORMATS["zip"])
    path = tmp_path / "archive.zip"

    async def save():
        with path.open("wb") as file:
            async for chunk in archive.stream():
                file.seek(len(chunk), 1) if chunk.count(0) == len(chunk) else file.write(chunk)

    asyncio.run(save())
    assert path.stat().st_size == archive.size
    with zipfile.ZipFile(path) as opened:
        assert opened.getinfo(f"{ID}/sparse").file_size == 5 << 30
        assert opened.testzip() is None


def test_more_files_than_a_short_count_can_say(archives_of):
    """66,000 empty files, looked at one by one."""
    store = AllEmpty()
    commit(store, {f"f/{number:06}": (0, checksum(b"")) for number in range(66_000)})
    archive = archives_of(store).archive("simulate", ID, FORMATS["zip"])
    with open_zip(read(archive)) as opened:
        assert len(opened.namelist()) == 66_001


def test_a_result_in_s3(archives_of, s3_endpoint, bucket):
    """The same from a real S3 interface, in ranges."""
    options = StoreOptions(endpoint_url=s3_endpoint, access_key_id="testing", secret_access_key="testing")
    store = open_store(f"s3://{bucket}", options)
    publish(store, FILES)
    archive = archives_of(store).archive("simulate", ID, FORMATS["zip"])
    with open_zip(read(archive)) as opened:
        for path, content in FILES.items():
            assert opened.read(f"{ID}/{path}") == content
