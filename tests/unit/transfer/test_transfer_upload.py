"""Uploading files: right bytes, bounds, failures, files that change."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import boto3
import obstore
import pytest

from wildcast_server.errors import AccessDeniedError, FileChangedError, UnpublishableFileError, UploadFailedError
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.transfer import LocalFile, Transfer, TransferProgress, digest_files, read_back

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
    assert seen[-1] == TransferProgress(3, 3, total, total)
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
    broken = LocalFile("broken", source, 0, about.st_mtime_ns, about.st_dev, about.st_ino)
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
