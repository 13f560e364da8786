"""Uploading files: right bytes, bounds, failures, files that change."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import boto3
import obstore
import pytest

from wildcast_server.errors import (
    AccessDeniedError,
    FileChangedError,
    NetworkError,
    UnpublishableFileError,
    UploadFailedError,
)
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.store.retry import RetryPolicy
from wildcast_server.transfer import LocalFile, StoredFile, Transfer, TransferProgress, digest_files, read_back

Output = Callable[..., list[LocalFile]]


def contents_of(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list()}


PART = 5 << 20


def test_every_file_arrives(watched: Any, output: Output):
    """Small, empty, hidden and odd files become objects under the prefix, with the checksums of their bytes."""
    contents = {"a": b"1", "empty": b"", ".hidden": b"2", "dir/ü #?%.bin": bytes(range(256)) * 99}
    files = output(contents)
    stored = Transfer(watched, max_concurrency=3).upload(files, "some/prefix")
    assert contents_of(watched) == {f"some/prefix/{path}": data for path, data in contents.items()}
    assert [(file.path, file.size) for file in stored] == [(file.path, file.size) for file in files]
    assert [file.crc64nvme for file in stored] == [read_back(watched, file.key, file.size) for file in stored]
    assert [file.etag for file in stored] == [watched.head(file.key).etag for file in stored]


def test_attributes_follow_the_name(watched: Any, output: Output):
    """Data may be cached for ever, metadata not at all, and both have their content type."""
    Transfer(watched).upload(output({"s.zarr/zarr.json": b"{}", "s.zarr/c/0": b"x"}), "p")
    kinds = {}
    for key in ("p/s.zarr/zarr.json", "p/s.zarr/c/0"):
        kinds[key] = obstore.get(watched._driver, key).attributes
    assert kinds["p/s.zarr/zarr.json"] == {"Content-Type": "application/json", "Cache-Control": "no-cache"}
    assert "immutable" in kinds["p/s.zarr/c/0"]["Cache-Control"]
    assert kinds["p/s.zarr/c/0"]["Content-Type"] == "application/octet-stream"


def test_multipart_to_s3(s3_endpoint: str, bucket: str, output: Output):
    """A 12 MiB file goes up in parts of 5 MiB; its bytes, its MD5 ETag and a small file's are right."""
    store = open_store(f"s3://{bucket}/base", StoreOptions(endpoint_url=s3_endpoint))
    contents = {"large": os.urandom(12 << 20), "small": b"small"}
    stored = Transfer(store, max_concurrency=4, part_size=PART).upload(output(contents), "p")
    assert {file.path: store.get(file.key) for file in stored} == contents
    assert [(file.path, file.is_multipart) for file in stored] == [("large", True), ("small", False)]
    assert [file.expected_etag for file in stored] == [file.etag for file in stored]
    assert (stored[0].etag or "").endswith('-3"')


def test_the_store_keeps_the_same_checksum(s3_endpoint: str, bucket: str, output: Output):
    """The full-object checksum that the store keeps of a multipart object is the one that we computed."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint, req_checksum="supported"))
    (stored,) = Transfer(store, part_size=PART).upload(output({"large": os.urandom(11 << 20)}), "p")
    assert store.full_checksum(stored.key) == stored.crc64nvme


def test_memory_and_requests_are_bounded(watched: Any, output: Output):
    """Over large and small files together, requests and bytes in flight stay within what the docstring states."""
    contents = {f"large{n}": bytes(4 * PART + n) for n in range(3)} | {f"small{n:02}": bytes(PART) for n in range(12)}
    transfer = Transfer(watched, max_concurrency=4, part_size=PART)
    transfer.upload(output(contents), "p")
    assert watched.peak_requests <= 4
    assert PART < watched.peak_held <= (4 + 2) * PART
    assert len(watched.puts) == 15


def test_one_request_at_a_time(watched: Any, output: Output):
    """A concurrency of one is one, for multipart uploads too."""
    Transfer(watched, max_concurrency=1, part_size=PART).upload(
        output({"large": bytes(3 * PART), "small": b"x", "tiny": b"y"}), "p"
    )
    assert watched.peak_requests == 1


def test_progress_reaches_the_total(watched: Any, output: Output):
    """Progress never goes back, and ends at all files and all bytes."""
    files = output({"large": bytes(2 * PART + 1), "a": b"12", "b": b""})
    seen: list[TransferProgress] = []
    Transfer(watched, part_size=PART).upload(files, "p", seen.append)
    total = 2 * PART + 3
    assert seen[-1] == TransferProgress(3, 3, total, total, seconds=seen[-1].seconds)
    assert [progress.bytes_done for progress in seen] == sorted(progress.bytes_done for progress in seen)


def test_progress_can_stop_the_upload(watched: Any, output: Output):
    """What the callback raises ends the transfer, and arrives as it is."""

    class Enough(Exception):  # noqa: N818 - no error
        pass

    def stop(_progress: TransferProgress) -> None:
        raise Enough

    with pytest.raises(Enough):
        Transfer(watched, max_concurrency=1).upload(output({f"f{n}": b"x" for n in range(50)}), "p", stop)
    assert len(watched.puts) < 50


def test_the_first_failure_stops_new_work_and_waits(watched: Any, output: Output):
    """A refused file ends the upload with its name and the store's reason; what was in flight still arrives."""
    refused, begun = Event(), Event()

    def hook(key: str) -> None:
        if key == "p/f00":
            begun.set()
            assert refused.wait(20)
        elif key == "p/f01":
            assert begun.wait(20)
            refused.set()
            raise AccessDeniedError("s3://bucket/p/f01 could not be written: the store answered 403 AccessDenied")

    watched.hook = hook
    files = output({f"f{n:02}": b"x" for n in range(40)})
    with pytest.raises(UploadFailedError, match=r"f01 could not be uploaded: .*403 AccessDenied") as caught:
        Transfer(watched, max_concurrency=2).upload(files, "p")
    assert isinstance(caught.value.__cause__, AccessDeniedError)
    assert "p/f00" in watched.puts
    assert len(watched.puts) < 10


def test_a_failure_aborts_multipart_uploads(s3_endpoint: str, bucket: str, output: Output):
    """When one file fails, the multipart upload of another is aborted: no parts stay in the bucket."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    files = output({"large": bytes(6 * PART), "z": b"x"})
    (Path(files[1].source)).write_bytes(b"other")
    with pytest.raises(FileChangedError, match="z became longer"):
        Transfer(store, max_concurrency=2, part_size=PART).upload(files[1:] + files[:1], "p")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    client.close()


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _rewrite(path: Path) -> None:
    path.write_bytes(b"y" * path.stat().st_size)


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    about = path.stat()
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(path)


def _to_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def _to_fifo(path: Path) -> None:
    fifo = path.with_name("fifo")
    os.mkfifo(fifo)
    fifo.replace(path)


CHANGES = {
    _grow: "became longer",
    _truncate: "became shorter",
    _rewrite: "was rewritten",
    _replace: "was replaced",
    _to_link: "disappeared",
    Path.unlink: "disappeared",
    _to_fifo: "was replaced",
}


@pytest.mark.parametrize(("change", "how"), CHANGES.items())
@pytest.mark.parametrize("size", [100, 3 * PART], ids=["small", "large"])
def test_a_file_that_changed_since_the_scan(
    watched: Any, output: Output, change: Callable[[Path], None], how: str, size: int
):
    """A file that grew, shrank, was rewritten or replaced after the scan is named, and becomes no object."""
    files = output({"dir/file": bytes(size)})
    change(files[0].source)
    with pytest.raises(FileChangedError, match=f"dir/file {how}"):
        Transfer(watched, part_size=PART).upload(files, "p")
    assert contents_of(watched) == {}


@pytest.mark.parametrize("change", [_grow, _truncate, _rewrite])
def test_a_file_that_changes_between_its_parts(watched: Any, output: Output, change: Callable[[Path], None]):
    """A file that is written while its parts are on their way fails the upload, and leaves no object."""
    files = output({"large": bytes(4 * PART)})
    once = iter([change])
    watched.hook = lambda _key: next(once, lambda _path: None)(files[0].source)
    with pytest.raises(FileChangedError, match="large"):
        Transfer(watched, part_size=PART, max_concurrency=1).upload(files, "p")
    assert contents_of(watched) == {}


def test_a_disk_that_fails(watched: Any):
    """An input/output error while reading is named as such, with the file."""
    source = Path("/proc/self/mem")
    about = source.stat()
    broken = LocalFile("broken", str(source), 0, about.st_mtime_ns, about.st_dev, about.st_ino)
    with pytest.raises(UnpublishableFileError, match="broken cannot be read: Input/output error"):
        Transfer(watched).upload([broken], "p")


def test_digests_are_those_of_the_upload(watched: Any, output: Output):
    """Reading files for their checksums alone gives what uploading them gives."""
    files = output({"a": os.urandom(3 << 20), "empty": b""})
    uploaded = Transfer(watched).upload(files, "p")
    assert [file.crc64nvme for file in digest_files(files)] == [file.crc64nvme for file in uploaded]


def test_nothing_to_upload(watched: Any):
    """No files are no objects."""
    assert Transfer(watched).upload([], "p") == []


def test_each_acknowledged_file_is_told_at_once(watched: Any, output: Output):
    """`on_stored` hears of every file with the local and the stored side, after the store has it."""
    told: dict[str, tuple[LocalFile, StoredFile]] = {}

    def on_stored(local: LocalFile, stored: StoredFile) -> None:
        assert stored.key in watched.puts
        told[local.path] = local, stored

    files = output({"large": bytes(2 * PART), "a": b"1", "b": b""})
    stored = Transfer(watched, part_size=PART).upload(files, "p", on_stored=on_stored)
    assert told == {file.path: (file, result) for file, result in zip(files, stored, strict=True)}


def test_what_on_stored_raises_ends_the_transfer(watched: Any, output: Output):
    """A ledger on a full disk fails the upload, as it is."""

    def on_stored(_local: LocalFile, _stored: StoredFile) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Transfer(watched).upload(output({"a": b"1"}), "p", on_stored=on_stored)


def test_a_multipart_upload_is_repeated_whole(watched: Any, output: Output):
    """After an outage in the middle the file is read anew; its bytes, checksum and progress are right."""
    data = os.urandom(3 * PART + 5)
    files = output({"large": data})
    failures = iter([None, NetworkError("p/large could not be written: connection reset", "memory:///p/large")])

    def hook(_key: str) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure

    watched.hook = hook
    seen: list[TransferProgress] = []
    retry = RetryPolicy(20.0, first=0.001)
    (stored,) = Transfer(watched, part_size=PART, max_concurrency=1, retry=retry).upload(files, "p", seen.append)
    assert watched.get("p/large") == data
    assert stored.crc64nvme == digest_files(files)[0].crc64nvme
    counts = [progress.bytes_done for progress in seen]
    assert counts == sorted(counts)
    assert counts[-1] == len(data)


def test_an_outage_that_lasts_fails_the_upload(watched: Any, output: Output):
    """When the time for retries is over the last error goes on, with the file's name."""

    def hook(key: str) -> None:
        raise NetworkError(f"memory:///{key} could not be written: connection refused", f"memory:///{key}")

    watched.hook = hook
    with pytest.raises(UploadFailedError, match=r"large could not be uploaded: .*refused"):
        Transfer(watched, part_size=PART, retry=RetryPolicy(0.05, first=0.01)).upload(
            output({"large": bytes(2 * PART)}), "p"
        )


def test_progress_is_not_told_for_every_file(watched: Any, output: Output):
    """Thousands of files are told of a few times a second, so that telling costs nothing."""
    seen: list[TransferProgress] = []
    Transfer(watched).upload(output({f"{n}": b"" for n in range(300)}), "p", seen.append)
    assert seen[-1].files_done == 300
    assert len(seen) <= 3 + seen[-1].seconds / 0.05


BIG_FILE = r"""
import re, sys
from pathlib import Path
from wildcast_server.publish.scan import scan
from wildcast_server.store import open_store
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.transfer import Transfer

class Null(ObstoreStore):
    def put_parts(self, key, parts, **options):
        for part in parts:
            pass
        return None

memory = open_store("memory://")
Transfer(Null(memory.uri, memory._driver)).upload(scan(Path(sys.argv[1])), "p")
print(int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def _peak_memory(script: str, directory: Path) -> int:
    done = subprocess.run([sys.executable, "-c", script, directory], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.long
def test_a_20_gb_file_takes_no_more_memory(tmp_path: Path):
    """A sparse file of 20 GB is uploaded with little more memory than one of 64 MB."""
    peaks = []
    for size in (64 << 20, 20_000_000_000):
        root = tmp_path / str(size)
        root.mkdir()
        with (root / "file").open("wb") as file:
            file.truncate(size)
        peaks.append(_peak_memory(BIG_FILE, root))
    assert peaks[1] <= peaks[0] + (32 << 20)


MANY_FILES = r"""
import re, sys
from pathlib import Path
from wildcast_server.publish import Publisher
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.transfer import Transfer

options = StoreOptions(
    endpoint_url=sys.argv[2], access_key_id="x", secret_access_key="y", trust_checksums=True
)
store = open_store("s3://bench", options)
published = Publisher(store, Transfer(store), prefix="outputs").publish(Path(sys.argv[1]), "run")
assert published.publication.files == 100_000
# Not by getrusage(2), which counts the process that this one was forked from.
peak = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
keys = [info.key for info in store.list("outputs/run")]
assert len(keys) == len(set(keys)) == 100_001, len(keys)
print(peak)
"""
ENDPOINT = Path(__file__).parents[3] / "benchmarks/s3_endpoint.py"


@pytest.mark.long
def test_100_000_files_fit_into_300_mb(tmp_path: Path):
    """100,000 files of 4 kB are published within 300 MB, each key once."""
    block = os.urandom(4000)
    for number in range(100_000):
        directory = tmp_path / f"{number // 1000:03}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number:06}").write_bytes(block)
    with subprocess.Popen([sys.executable, ENDPOINT], stdout=subprocess.PIPE, text=True) as endpoint:
        try:
            assert endpoint.stdout is not None
            url = f"http://127.0.0.1:{int(endpoint.stdout.readline())}"
            done = subprocess.run(
                [sys.executable, "-c", MANY_FILES, tmp_path, url], capture_output=True, text=True, check=True
            )
        finally:
            endpoint.terminate()
    assert int(done.stdout) < 300_000_000
