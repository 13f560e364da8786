"""Publishing end to end, into real stores and into stores that lie."""

import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import xarray as xr
from msgspec import structs

from wildcast.contract.manifest import Dataset, ManifestError
from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.errors import (
    AccessDeniedError,
    EmptyOutputError,
    FileChangedError,
    NoSuchBucketError,
    NotFoundError,
    PublicationError,
    UnpublishableFileError,
    UploadFailedError,
    VerificationFailedError,
)
from wildcast_server.publish import Publisher, manifest_key, read_manifest
from wildcast_server.publish.claim import CLAIM_PATH
from wildcast_server.publish.manifests import commit
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.transfer import Transfer, TransferProgress

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

PART = 5 << 20
NOW = datetime(2026, 11, 20, tzinfo=UTC)

SMALL = {"data/a": b"1", "data/empty": b"", ".hidden": b"22", "s/zarr.json": b'{"node_type": "array"}'}


def _zarr(path: Path, version: int) -> xr.Dataset:
    data = xr.Dataset({"t": (("time", "x"), np.random.default_rng(1).normal(size=(4, 50)))}, {"time": range(4)})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        data.to_zarr(path, zarr_format=version, consolidated=False)
    return data


def _objects(store: Any, prefix: str = "outputs") -> dict[str, bytes]:
    return {info.key.removeprefix("outputs/"): store.get(info.key) for info in store.list(prefix)}


@pytest.mark.parametrize("kind", ["memory", "file", "s3"])
@pytest.mark.parametrize("version", [2, 3])
def test_end_to_end(request: pytest.FixtureRequest, tmp_path: Path, publisher: MakePublisher, kind: str, version: int):
    """A zarr store and a multipart file are published whole: manifest, listing and bytes agree with the disk."""
    options = StoreOptions()
    if kind == "s3":
        uri = f"s3://{request.getfixturevalue('bucket')}/base"
        options = StoreOptions(endpoint_url=request.getfixturevalue("s3_endpoint"))
    else:
        uri = "memory://" if kind == "memory" else (tmp_path / "store").as_uri()
    store = open_store(uri, options)
    root = tmp_path / "output"
    data = _zarr(root / "results.zarr", version)
    (root / "large.bin").write_bytes(os.urandom(12 << 20))
    (root / "empty").touch()

    published = publisher(store).publish(root, "exec_1_00000001")

    assert published.storage_type == "s3"
    assert published.publication.prefix == "outputs/exec_1_00000001"
    assert published.publication.manifest == f"outputs/exec_1_00000001/{MANIFEST_PATH}"
    assert published.publication.verified == ("md5-etag" if kind == "s3" else "read-back")
    assert published.datasets == (Dataset(path="results.zarr", format=f"zarr{version}"),)
    assert published.upload is not None
    assert published.upload.bytes_per_second > 0
    manifest = read_manifest(store, "outputs/exec_1_00000001")
    assert manifest == published.manifest
    on_disk = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert [row.path for row in manifest.rows] == sorted(on_disk, key=str.encode)
    assert (manifest.files, manifest.bytes) == (len(on_disk), sum(map(len, on_disk.values())))
    in_store = _objects(store, "outputs/exec_1_00000001")
    in_store.pop(f"exec_1_00000001/{MANIFEST_PATH}")
    assert in_store == {f"exec_1_00000001/{path}": content for path, content in on_disk.items()}
    if kind == "file":
        with xr.open_zarr(tmp_path / "store/outputs/exec_1_00000001/results.zarr", consolidated=True) as opened:
            xr.testing.assert_identical(opened.load(), data)


def test_the_order_of_writes(watched: Any, publisher: MakePublisher, directory: Directory):
    """The claim comes before all, then data, metadata after it, the manifest last and once."""
    publisher(watched).publish(directory(SMALL), "run", owner="me")
    claim, *names = [key.removeprefix("outputs/run/") for key in watched.written]
    assert claim == CLAIM_PATH
    assert set(names[:3]) == {"data/a", "data/empty", ".hidden"}
    assert names[3:] == ["s/zarr.json", MANIFEST_PATH]


def test_progress_spans_all_files(watched: Any, publisher: MakePublisher, directory: Directory):
    """Progress counts data and metadata as one."""
    seen: list[TransferProgress] = []
    publisher(watched).publish(directory(SMALL), "run", on_progress=seen.append)
    total = sum(map(len, SMALL.values()))
    assert {(progress.files_total, progress.bytes_total) for progress in seen} == {(4, total)}
    assert (seen[-1].files_done, seen[-1].bytes_done) == (4, total)


def test_the_manifest_tells_who_and_when(watched: Any, directory: Directory):
    """Execution, attempt and time are those given."""
    made = Publisher(watched, Transfer(watched), prefix="", clock=lambda: NOW)
    manifest = made.publish(directory(SMALL), "run", attempt=3).manifest
    assert (manifest.execution, manifest.attempt, manifest.created_at) == ("run", 3, NOW)
    assert read_manifest(watched, "run") == manifest


def test_the_same_again_writes_nothing(watched: Any, publisher: MakePublisher, directory: Directory):
    """Publishing an unchanged directory again returns the same publication without a single write."""
    root = directory(SMALL)
    first = publisher(watched).publish(root, "run")
    watched.written.clear()
    again = publisher(watched).publish(root, "run", attempt=2)
    assert watched.written == []
    assert (again.publication, again.manifest, again.upload) == (first.publication, first.manifest, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "data/a").write_bytes(b"2"),
        lambda root: (root / "data/a").write_bytes(b"longer"),
        lambda root: (root / "new").touch(),
        lambda root: (root / "data/a").unlink(),
    ],
    ids=["same size", "other size", "added", "removed"],
)
def test_a_change_goes_to_another_prefix(
    watched: Any, publisher: MakePublisher, directory: Directory, change: Callable[[Path], None]
):
    """What readers may have seen stays; the changed directory is published beside it, and found there again."""
    root = directory(SMALL)
    publisher(watched).publish(root, "run")
    before = _objects(watched, "outputs/run")
    change(root)
    second = publisher(watched).publish(root, "run")
    assert second.publication.prefix == "outputs/run-2"
    assert _objects(watched, "outputs/run") == before
    assert publisher(watched).publish(root, "run").publication == second.publication
    (root / "third").touch()
    assert publisher(watched).publish(root, "run").publication.prefix == "outputs/run-3"


def test_a_damaged_publication_is_not_taken_for_the_same(watched: Any, publisher: MakePublisher, directory: Directory):
    """If objects were lost since, publishing again makes a whole publication elsewhere."""
    root = directory(SMALL)
    publisher(watched).publish(root, "run")
    watched.delete("outputs/run/data/a")
    assert publisher(watched).publish(root, "run").publication.prefix == "outputs/run-2"


def test_a_restored_publication_is_the_same(
    tmp_path: Path, faulty: Any, publisher: MakePublisher, directory: Directory
):
    """On disk an ETag tells the inode, so the manifest has none; the same files again are found by their checksums."""
    store = faulty(open_store((tmp_path / "store").as_uri()))
    root = directory(SMALL)
    first = publisher(store.inner).publish(root, "run")
    assert {row.etag for row in first.manifest.rows} == {""}
    (tmp_path / "store" / "outputs").rename(tmp_path / "backup")
    shutil.copytree(tmp_path / "backup", tmp_path / "store" / "outputs")
    assert publisher(store).publish(root, "run").publication == first.publication
    assert store.written == []
    (tmp_path / "store" / "outputs" / "run" / "data" / "a").write_bytes(b"?")
    assert publisher(store).publish(root, "run").publication.prefix == "outputs/run-2"


def test_a_damaged_manifest_is_left_alone(watched: Any, publisher: MakePublisher, directory: Directory):
    """A manifest that cannot be read marks the prefix as used, and reading it says which one it is."""
    watched.put(manifest_key("outputs/run"), b"junk")
    assert publisher(watched).publish(directory(SMALL), "run").publication.prefix == "outputs/run-2"
    with pytest.raises(ManifestError, match=r"outputs/run/.*damaged"):
        read_manifest(watched, "outputs/run")


def test_leftovers_are_removed(watched: Any, publisher: MakePublisher, directory: Directory):
    """Objects of a publication that never came to its end are gone before the commit; neighbours stay."""
    watched.put("outputs/run/stale", b"x")
    watched.put("outputs/run2/other", b"x")
    publisher(watched).publish(directory(SMALL), "run")
    assert {key.partition("/")[2] for key in _objects(watched, "outputs/run")} == {*SMALL, MANIFEST_PATH}
    assert _objects(watched, "outputs/run2") == {"run2/other": b"x"}


def test_another_publication_is_never_removed(watched: Any, publisher: MakePublisher, directory: Directory):
    """A prefix above other publications is refused, and nothing of them is deleted."""
    publisher(watched).publish(directory(SMALL), "run")
    before = _objects(watched, "outputs/run")
    with pytest.raises(PublicationError, match="another publication below outputs"):
        publisher(watched, prefix="").publish(directory({"x": b"1"}, "other"), "outputs")
    assert _objects(watched, "outputs/run") == before


def _flip(_key: str, data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:] if data else data


LIES: dict[str, Callable[[str, bytes], bytes | None]] = {
    "a flipped bit": lambda key, data: _flip(key, data) if key.endswith("data/a") else data,
    "a lost object": lambda key, data: None if key.endswith("data/a") else data,
    "a truncated object": lambda key, data: data[:-1] if key.endswith("data/a") else data,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("claims", [{}, {"md5": True}], ids=["no checksums", "md5"])
def test_a_store_that_lies_is_found_out(
    faulty: Any, publisher: MakePublisher, directory: Directory, lie: str, claims: dict[str, bool]
):
    """Whatever is lost or altered on the way is noticed, named, and not committed."""
    store = faulty(open_store("memory://"), **claims)
    store.change = LIES[lie]
    with pytest.raises(VerificationFailedError, match=re.escape("outputs/run/data/a")):
        publisher(store).publish(directory(SMALL), "run")
    with pytest.raises(NotFoundError):
        read_manifest(store, "outputs/run")


@pytest.mark.parametrize("checks", [False, True])
def test_a_flipped_bit_in_a_part_is_found_out(
    s3_endpoint: str, bucket: str, faulty: Any, publisher: MakePublisher, directory: Directory, *, checks: bool
):
    """A multipart object is compared as a whole, by its MD5 ETag or by the checksum that the store keeps."""
    options = StoreOptions(endpoint_url=s3_endpoint, req_checksum="supported")
    store = faulty(open_store(f"s3://{bucket}", options), checks=checks, md5=True)
    store.change = lambda key, data: _flip(key, data) if key.endswith("large") and len(data) < PART else data
    with pytest.raises(VerificationFailedError, match="large"):
        publisher(store).publish(directory({"large": os.urandom(12 << 20)}), "run")


def test_a_trusted_store_is_verified_by_checksums(
    s3_endpoint: str, bucket: str, faulty: Any, publisher: MakePublisher, directory: Directory
):
    """Where the store checks the CRC64NVME, nothing is read back."""
    options = StoreOptions(endpoint_url=s3_endpoint, trust_checksums=True)
    store = faulty(open_store(f"s3://{bucket}", options), checks=True)
    published = publisher(store).publish(directory({"large": bytes(12 << 20), "small": b"x"}), "run")
    assert published.publication.verified == "crc64nvme"
    assert store.reads == []


def test_an_etag_that_is_no_md5_is_read_back(
    s3_endpoint: str, bucket: str, faulty: Any, publisher: MakePublisher, directory: Directory
):
    """An ETag that only looks like an MD5 (SSE-KMS) accuses nobody: the bytes are read again, and are right."""
    store = faulty(open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint)), md5=True)
    fake = f'"{hashlib.sha256(b"kms").hexdigest()[:32]}"'

    class Kms(type(store)):  # type: ignore[misc] # ETags as KMS makes them
        def put(self, key: str, data: bytes, attributes: Any = None) -> str:
            super().put(key, data, attributes)
            return fake

        def list(self, prefix: str = "", *, after: str | None = None) -> Any:
            for info in super().list(prefix, after=after):
                yield type(info)(info.key, info.size, fake, info.last_modified)

    kms = Kms(store.inner, md5=True)
    published = publisher(kms).publish(directory({"a": b"1", "b": b"2"}), "run")
    assert published.publication.verified == "read-back"
    assert {row.etag for row in published.manifest.rows} == {fake}


def test_many_failures_are_counted(watched: Any, publisher: MakePublisher, directory: Directory):
    """An error names a few keys and counts the others."""
    watched.change = lambda _key, _data: None
    with pytest.raises(VerificationFailedError, match="and 7 more"):
        publisher(watched).publish(directory({f"f{number:02}": b"x" for number in range(12)}), "run")


def test_a_manifest_that_is_damaged_on_the_way(watched: Any, publisher: MakePublisher, directory: Directory):
    """The manifest is verified too, by reading it back, and does not stay if it is damaged."""
    watched.change = lambda key, data: _flip(key, data) if key.endswith(MANIFEST_PATH) else data
    with pytest.raises(VerificationFailedError, match="manifest"):
        publisher(watched).publish(directory(SMALL), "run")
    with pytest.raises(NotFoundError):
        read_manifest(watched, "outputs/run")


def test_a_file_rewritten_during_the_upload(watched: Any, publisher: MakePublisher, directory: Directory):
    """A file that changes after it was uploaded, before the commit, fails the publication and is named."""
    root = directory(SMALL)

    def rewrite(key: str, data: bytes) -> bytes:
        if key.endswith("zarr.json"):
            (root / "data/a").write_bytes(b"9")
        return data

    watched.change = rewrite
    with pytest.raises(FileChangedError, match="data/a"):
        publisher(watched).publish(root, "run")
    with pytest.raises(NotFoundError):
        read_manifest(watched, "outputs/run")


def test_a_file_that_appears_during_the_upload(watched: Any, publisher: MakePublisher, directory: Directory):
    """A workflow that still writes new files is noticed."""
    root = directory(SMALL)
    watched.change = lambda _key, data: ((root / "late").touch(), data)[1]
    with pytest.raises(FileChangedError, match="late"):
        publisher(watched).publish(root, "run")


def test_stopping_in_the_middle_leaves_no_manifest(watched: Any, publisher: MakePublisher, directory: Directory):
    """What stops half-way is no publication; the next try completes under the same prefix."""
    root = directory({**SMALL, **{f"f{number:02}": b"x" for number in range(20)}})

    class Stop(Exception):  # noqa: N818 - no error
        pass

    def stop(progress: TransferProgress) -> None:
        if 0 < progress.files_done < 24:
            raise Stop

    with pytest.raises(Stop):
        publisher(watched).publish(root, "run", on_progress=stop)
    assert 0 < len(_objects(watched)) < 24
    with pytest.raises(NotFoundError):
        read_manifest(watched, "outputs/run")
    assert publisher(watched).publish(root, "run").publication.prefix == "outputs/run"


def test_a_commit_never_replaces_another(watched: Any, publisher: MakePublisher, directory: Directory):
    """If another publication was committed at the prefix meanwhile, this one fails, and that one stays."""
    first = publisher(watched).publish(directory(SMALL), "run").manifest
    commit(watched, "outputs/run", first)
    with pytest.raises(UploadFailedError, match="another publication was committed at outputs/run"):
        commit(watched, "outputs/run", structs.replace(first, attempt=2))
    assert read_manifest(watched, "outputs/run") == first


def test_a_bucket_that_does_not_exist(s3_endpoint: str, publisher: MakePublisher, directory: Directory):
    """A missing bucket is named as such."""
    store = open_store("s3://no-such-bucket-here", StoreOptions(endpoint_url=s3_endpoint))
    with pytest.raises((NoSuchBucketError, UploadFailedError), match=r"no-such-bucket-here.*no such bucket"):
        publisher(store).publish(directory(SMALL), "run")


def test_an_upload_that_is_refused(watched: Any, publisher: MakePublisher, directory: Directory):
    """The sentence has the file and the store's reason."""

    def refuse(key: str, _data: bytes) -> bytes:
        raise AccessDeniedError(f"{key} could not be written: the store answered 403 AccessDenied", key)

    watched.change = refuse
    with pytest.raises(UploadFailedError, match=r"could not be uploaded: .*403 AccessDenied"):
        publisher(watched).publish(directory({"a": b"1"}), "run")


@pytest.mark.parametrize("name", ["", "a/b", "..", "/x", ".wildcast", "nul\0"])
def test_names_that_are_none(watched: Any, publisher: MakePublisher, directory: Directory, name: str):
    """A name must be one plain segment, so that no publication lies within another."""
    with pytest.raises(UnpublishableFileError, match="cannot be a publication's name"):
        publisher(watched).publish(directory(SMALL), name)
    assert watched.written == []


def test_an_empty_directory(watched: Any, publisher: MakePublisher, directory: Directory):
    """Nothing is written for a directory without files."""
    with pytest.raises(EmptyOutputError):
        publisher(watched).publish(directory({}), "run")
    assert watched.written == []


def test_attributes_reach_s3(s3_endpoint: str, bucket: str, publisher: MakePublisher, directory: Directory):
    """Content type and cache control of data, metadata and manifest are what a CDN needs."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    publisher(store).publish(directory({**SMALL, "data.nc": b"CDF"}), "run")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    heads = {
        name: client.head_object(Bucket=bucket, Key=f"outputs/run/{name}")
        for name in ("data.nc", "s/zarr.json", MANIFEST_PATH)
    }
    client.close()
    assert {name: head["ContentType"] for name, head in heads.items()} == {
        "data.nc": "application/netcdf",
        "s/zarr.json": "application/json",
        MANIFEST_PATH: "application/gzip",
    }
    assert "immutable" in heads["data.nc"]["CacheControl"]
    assert heads["s/zarr.json"]["CacheControl"] == heads[MANIFEST_PATH]["CacheControl"] == "no-cache"
