"""Publishing again after an interruption: what the store verifiably holds is not sent twice."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.errors import AccessDeniedError, NetworkError, UploadFailedError, VerificationFailedError
from wildcast_server.failpoints import VARIABLE
from wildcast_server.publish import Publisher, read_manifest
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.transfer.checksums import Crc64Nvme
from wildcast_server.transfer.digest import digest_files
from wildcast_server.transfer.files import TransferProgress
from wildcast_server.transfer.ledger import read_ledger

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

FILES = {f"data/{number:02}": b"x" * number for number in range(10)} | {"s/zarr.json": b'{"node_type": "array"}'}
MIB = 1 << 20


def _interrupt(make: MakePublisher, store: Any, root: Path, ledgers: Path | None, at: str = "data/07") -> None:
    """Publish until one file is refused; some others were stored."""

    def refuse(key: str, data: bytes) -> bytes:
        if key.endswith(at):
            raise AccessDeniedError(f"{key} could not be written", key)
        return data

    store.change, before = refuse, store.change
    with pytest.raises(UploadFailedError):
        make(store, ledgers=ledgers).publish(root, "run")
    store.change = before


def _names(store: Any) -> list[str]:
    return sorted(key.removeprefix("outputs/run/") for key in store.written)


def _assert_whole(store: Any, root: Path, prefix: str = "outputs/run") -> None:
    found = {info.key.removeprefix(f"{prefix}/"): store.inner.get(info.key) for info in store.list(prefix)}
    found.pop(MANIFEST_PATH)
    assert found == {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert {row.path for row in read_manifest(store, prefix).rows} == set(found)


def test_what_is_stored_is_not_sent_again(watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path):
    """The second run writes exactly what the first did not, and removes the ledger."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers)
    [ledger] = ledgers.iterdir()
    stored = set(read_ledger(ledger))
    assert 0 < len(stored) < len(FILES)
    watched.written.clear()
    publisher(watched, ledgers=ledgers).publish(root, "run")
    assert _names(watched) == sorted({*FILES, MANIFEST_PATH} - stored)
    _assert_whole(watched, root)
    assert list(ledgers.iterdir()) == []


def test_a_file_that_changed_since_is_sent_again(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """The ledger speaks of the very file that was read, not of its name."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers, at="zarr.json")
    (root / "data/03").write_bytes(b"yyy")
    watched.written.clear()
    publisher(watched, ledgers=ledgers).publish(root, "run")
    assert _names(watched) == [MANIFEST_PATH, "data/03", "s/zarr.json"]
    _assert_whole(watched, root)


def test_a_file_that_is_gone_since_is_removed(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """An object without a file does not stay under the prefix."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers, at="zarr.json")
    (root / "data/03").unlink()
    publisher(watched, ledgers=ledgers).publish(root, "run")
    _assert_whole(watched, root)


@pytest.mark.parametrize("how", ["lost", "overwritten"])
def test_the_ledger_alone_proves_nothing(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, how: str
):
    """An object that the store lost, or that somebody has written since, is sent again."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers, at="zarr.json")
    if how == "lost":
        watched.inner.delete("outputs/run/data/05")
    else:
        watched.inner.put("outputs/run/data/05", b"other")
    watched.written.clear()
    publisher(watched, ledgers=ledgers).publish(root, "run")
    assert _names(watched) == [MANIFEST_PATH, "data/05", "s/zarr.json"]
    _assert_whole(watched, root)


def test_progress_counts_what_is_skipped(watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path):
    """What need not be sent is done from the beginning, and no part of the rate."""
    root, ledgers = directory({**FILES, "data/07": b"x" * 1000}), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers, at="zarr.json")
    seen: list[TransferProgress] = []
    publisher(watched, ledgers=ledgers).publish(root, "run", on_progress=seen.append)
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    skipped = total - len(FILES["s/zarr.json"])
    assert (seen[0].files_done, seen[0].bytes_skipped) == (10, skipped)
    assert (seen[-1].files_done, seen[-1].bytes_done, seen[-1].bytes_skipped) == (11, total, skipped)


def test_a_fresh_publication_lists_once(watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path):
    """Where nothing can be there already, nobody looks whether there is."""
    listed: list[str] = []
    inner = watched.inner
    original = inner.list

    class Listing(type(inner)):  # type: ignore[misc] # counts
        def list(self, prefix: str = "", *, after: str | None = None) -> Any:
            listed.append(prefix)
            return original(prefix, after=after)

    inner.__class__ = Listing
    publisher(watched, ledgers=tmp_path / "ledgers").publish(directory(FILES), "run")
    assert listed == ["outputs/run"]


def test_without_a_ledger_the_stores_own_checksum_decides(
    faulty: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """Another machine sends no large file again whose CRC64NVME the store knows; one that differs it does."""

    class Knowing(faulty):  # type: ignore[misc] # a store that keeps checksums, as S3 does
        def full_checksum(self, key: str) -> str:
            crc = Crc64Nvme()
            crc.update(self.inner.get(key))
            return crc.base64()

    store = Knowing(open_store("memory://"), checks=True)
    root = directory({"large": os.urandom(MIB), "other": os.urandom(MIB), "small": b"x", "s/zarr.json": b"{}"})
    _interrupt(publisher, store, root, None, at="zarr.json")
    (root / "other").write_bytes(os.urandom(MIB))
    (root / "s/zarr.json").write_bytes(b'{"node_type": "array"}')
    store.written.clear()
    published = publisher(store, ledgers=tmp_path / "elsewhere").publish(root, "run", attempt=2)
    assert _names(store) == [MANIFEST_PATH, "other", "s/zarr.json", "small"]
    assert published.publication.verified == "crc64nvme"
    _assert_whole(store, root)


def test_multipart_uploads_that_a_kill_left_are_ended(
    s3_endpoint: str, bucket: str, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """Whoever goes on gives back what their parts occupy, below this prefix alone."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    for key in ("outputs/run/large", "outputs/other/large"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    publisher(store, ledgers=tmp_path / "ledgers").publish(directory(FILES), "run", attempt=2)
    left = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    client.close()
    assert [upload["Key"] for upload in left] == ["outputs/other/large"]


def test_who_may_not_list_uploads_publishes_all_the_same(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """It is a right of its own; one warning says what stays."""

    def refuse(prefix: str) -> Any:
        raise AccessDeniedError(f"{prefix} could not be listed", prefix)

    watched.unfinished_uploads = refuse
    publisher(watched, ledgers=tmp_path / "ledgers").publish(directory(FILES), "run", attempt=2)
    assert "stay there" in caplog.text


def test_a_disk_that_takes_no_ledger_stops_nothing(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Publishing goes on without, and says so once."""
    (tmp_path / "ledgers").write_text("a file is in the way")
    root = directory(FILES)
    with caplog.at_level(logging.WARNING):
        publisher(watched, ledgers=tmp_path / "ledgers").publish(root, "run")
    _assert_whole(watched, root)
    assert caplog.text.count("cannot be written") == 1


def test_a_ledger_that_fails_in_the_middle_is_given_up_once(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A disk that is full from some row on costs the rest of the ledger, and one warning."""
    begun = publisher(watched, ledgers=tmp_path / "ledgers").begin(directory(FILES), "run")
    assert begun.is_open(10)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, begun._opening.acknowledged._ledger._descriptor)
    os.close(full)
    begun.finish()
    assert caplog.text.count("cannot be written") == 1


def test_a_committed_publication_is_known_without_reading_the_files(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed right after the commit: nothing is written, and what the ledger knows is not read again."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers, at="zarr.json")
    [ledger] = ledgers.iterdir()
    rows = ledger.read_bytes()
    first = publisher(watched, ledgers=ledgers).publish(root, "run")
    ledger.write_bytes(rows)
    watched.written.clear()
    read: list[str] = []

    def digested(files: Any) -> Any:
        read.extend(file.path for file in files)
        return digest_files(files)

    monkeypatch.setattr("wildcast_server.publish.same.digest_files", digested)
    again = publisher(watched, ledgers=ledgers).publish(root, "run")
    assert (again.publication, watched.written) == (first.publication, [])
    assert read == ["s/zarr.json"]
    assert list(ledgers.iterdir()) == []


def test_a_new_computation_begins_with_a_clean_prefix(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """What an earlier attempt stored, and streamed, counts for nothing, and is gone before anything is written."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers)
    begun = publisher(watched, ledgers=ledgers).begin(root, "run", attempt=2, afresh=True)
    assert begun.prefix == "outputs/run"
    assert list(watched.list("outputs/run")) == []
    watched.written.clear()
    begun.finish()
    assert _names(watched) == sorted([*FILES, MANIFEST_PATH])


def test_what_is_abandoned_is_removed(watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path):
    """Objects and ledgers, and nothing beside the prefix."""
    root, ledgers = directory(FILES), tmp_path / "ledgers"
    _interrupt(publisher, watched, root, ledgers)
    watched.inner.put("outputs/run-9/x", b"")
    publisher(watched, ledgers=ledgers).begin(root, "run").abandon()
    assert [info.key for info in watched.list("outputs")] == ["outputs/run-9/x"]
    assert list(ledgers.iterdir()) == []


def test_a_store_that_is_away_when_it_begins_may_be_back_at_the_end(
    watched: Any, publisher: MakePublisher, directory: Directory
):
    """Beginning never fails with the store; who needs the answer asks again."""
    head = watched.head

    def away(key: str) -> Any:
        raise NetworkError(f"{key} cannot be reached", key)

    watched.head = away
    begun = publisher(watched).begin(directory(FILES), "run")
    assert not begun.is_open(10)
    watched.head = head
    assert begun.finish().publication.prefix == "outputs/run"


CHILD = """
import sys
from pathlib import Path
from wildcast_server.publish import Publisher
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.transfer import Transfer
root, ledgers, bucket, endpoint = sys.argv[1:]
store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=endpoint))
transfer = Transfer(store, max_concurrency=4, part_size=5 << 20)
Publisher(store, transfer, prefix="outputs", ledgers=Path(ledgers)).publish(Path(root), "run")
"""

KILLED_AT = [
    pytest.param("publish.begun", marks=pytest.mark.long),
    pytest.param("upload.read:3", marks=pytest.mark.long),
    "upload.stored:3",
    pytest.param("upload.recorded:3", marks=pytest.mark.long),
    "upload.part:2",
    "publish.data-stored",
    pytest.param("publish.metadata-stored", marks=pytest.mark.long),
    pytest.param("publish.verified", marks=pytest.mark.long),
    pytest.param("publish.swept", marks=pytest.mark.long),
    "publish.committed",
]
"""Each costs a process of its own, so four stand for all; the long tests have every one."""


@pytest.mark.parametrize("place", KILLED_AT)
def test_killed_anywhere_and_gone_on_with(
    s3_endpoint: str,
    bucket: str,
    faulty: Any,
    publisher: MakePublisher,
    directory: Directory,
    tmp_path: Path,
    place: str,
):
    """Whole and byte-exact in the end, nothing sent again that the ledger knew, no multipart upload left behind."""
    root, ledgers = directory({**FILES, "large": os.urandom(11 * MIB)}), tmp_path / "ledgers"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), str(ledgers), bucket, s3_endpoint],
        env={**os.environ, VARIABLE: place},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert child.returncode == -9, child.stderr
    [ledger] = ledgers.iterdir()
    known = set(read_ledger(ledger))
    store = faulty(open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint)), md5=True)
    published = publisher(store, ledgers=ledgers).publish(root, "run")
    assert published.publication.prefix == "outputs/run"
    assert known.isdisjoint(_names(store))
    _assert_whole(store, root)
    assert list(store.unfinished_uploads("outputs")) == []
    assert list(ledgers.iterdir()) == []


@pytest.mark.parametrize("size", [1, 2 * MIB])
def test_what_was_found_wrong_is_sent_again(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path, size: int
):
    """A bit that was flipped on the way fails the publication once, not for ever; the rest is not sent again."""
    root, ledgers = directory({"a": b"1" * size, "b": b"2"}), tmp_path / "ledgers"
    watched.change = lambda key, data: b"0" * size if key.endswith("/a") else data
    with pytest.raises(VerificationFailedError, match="outputs/run/a") as caught:
        publisher(watched, ledgers=ledgers).publish(root, "run")
    assert caught.value.keys == ("outputs/run/a",)
    watched.change = lambda _key, data: data
    watched.written.clear()
    publisher(watched, ledgers=ledgers).publish(root, "run")
    assert _names(watched) == [MANIFEST_PATH, "a"]
    _assert_whole(watched, root)
