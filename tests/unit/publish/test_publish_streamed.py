"""Publishing what a workflow wrote past the disk."""

import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from wildcast.contract.manifest import Dataset
from wildcast.contract.naming import MANIFEST_PATH, RESERVED
from wildcast_server.errors import EmptyOutputError, PublicationError, VerificationFailedError
from wildcast_server.publish import Publisher, Publishing, publish_in_place
from wildcast_server.transfer.checksums import Crc64Nvme
from wildcast_server.transfer.ledger import Ledger, LedgerRow, read_ledger
from wildcast_server.transfer.mark import StreamMark, write_mark

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]


def _stream(begun: Publishing, store: Any, path: str, data: bytes, *, removed: bool = False) -> None:
    """Write an object and its row, as the sink of a run does."""
    assert begun.streamed is not None
    crc = Crc64Nvme()
    crc.update(data)
    etag = store.inner.put(f"{begun.prefix}/{path}", data)
    row = LedgerRow(path, len(data), crc.base64(), etag, None, False, "application/octet-stream", None, removed)  # noqa: FBT003 - a row's fields
    with Ledger(begun.streamed) as ledger:
        ledger.add(row)
    write_mark(begun._wanted.directory, StreamMark.of(begun.prefix, read_ledger(begun.streamed)))


@pytest.fixture
def begin(watched: Any, publisher: MakePublisher, tmp_path: Path) -> Callable[..., Publishing]:
    """Begin a publication whose ledgers outlive it."""

    def make(root: Path, attempt: int = 1, *, afresh: bool = True) -> Publishing:
        return publisher(watched, ledgers=tmp_path / "ledgers").begin(root, "run", attempt=attempt, afresh=afresh)

    return make


def test_streamed_files_are_in_the_manifest(watched: Any, begin: Callable[..., Publishing], directory: Directory):
    """In one order with those from disk, verified like them; a netCDF file is a dataset."""
    begun = begin(directory({"b": b"2"}))
    _stream(begun, watched, "a.nc", b"CDF")
    _stream(begun, watched, "c", b"")
    published = begun.finish()
    assert [(row.path, row.size) for row in published.manifest.rows] == [("a.nc", 3), ("b", 1), ("c", 0)]
    assert published.datasets == (Dataset(path="a.nc", format="netcdf"),)
    assert published.publication.verified == "read-back"
    assert {info.key.removeprefix("outputs/run/") for info in watched.list("outputs")} == {
        "a.nc",
        "b",
        "c",
        MANIFEST_PATH,
    }
    assert begun.streamed is not None
    assert not begun.streamed.exists()


def test_a_zarr_store_whose_chunks_were_streamed(watched: Any, begin: Callable[..., Publishing], tmp_path: Path):
    """Its documents lie on disk, are consolidated there, and make it a dataset."""
    root = tmp_path / "output"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(root / "x.zarr", mode="w")
        group.create_array("t", data=np.arange(4), chunks=(2,))
    begun = begin(root)
    for chunk in (path for path in root.rglob("*") if path.is_file() and path.name != "zarr.json"):
        _stream(begun, watched, str(chunk.relative_to(root)), chunk.read_bytes())
        chunk.unlink()
    published = begun.finish()
    assert published.datasets == (Dataset(path="x.zarr", format="zarr3"),)
    assert published.publication.files == 4


def test_all_may_be_streamed(watched: Any, begin: Callable[..., Publishing], directory: Directory):
    """An output directory without a file is empty only if nothing was streamed either."""
    begun = begin(directory({}))
    _stream(begun, watched, "a", b"1")
    assert begun.finish().publication.files == 1
    with pytest.raises(EmptyOutputError):
        begin(directory({}, "other"), attempt=2, afresh=False).finish()


def test_a_path_in_both_places_is_refused(watched: Any, begin: Callable[..., Publishing], directory: Directory):
    """Nobody could say which of the two is meant."""
    begun = begin(directory({"a": b"1"}))
    _stream(begun, watched, "a", b"2")
    with pytest.raises(PublicationError, match="a was both streamed and written"):
        begun.finish()


def test_a_streamed_object_that_is_lost_fails(watched: Any, begin: Callable[..., Publishing], directory: Directory):
    """It is verified as every other object, and there is no file to send again."""
    begun = begin(directory({"b": b"2"}))
    _stream(begun, watched, "a", b"1")
    watched.inner.delete("outputs/run/a")
    with pytest.raises(VerificationFailedError, match="outputs/run/a"):
        begun.finish()


def test_what_was_streamed_survives_a_kill(watched: Any, begin: Callable[..., Publishing], directory: Directory):
    """A publication that is gone on with has the chunks of its own attempt."""
    root = directory({"b": b"2"})
    _stream(begin(root), watched, "a", b"1")
    assert begin(root, afresh=False).finish().publication.files == 2


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_new_computation_streams_afresh(
    watched: Any, begin: Callable[..., Publishing], directory: Directory, attempt: int
):
    """What an earlier one streamed is neither in the store nor in the ledger when the next begins."""
    root = directory({"b": b"2"})
    _stream(begin(root), watched, "a", b"1")
    shutil.rmtree(root / RESERVED)
    again = begin(root, attempt=attempt)
    assert again.prefix == "outputs/run"
    assert list(watched.list("outputs")) == []
    assert again.finish().publication.files == 1


def test_a_directory_published_by_hand_keeps_what_was_streamed(
    watched: Any, begin: Callable[..., Publishing], publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """Whoever publishes a failed execution's directory need not know its attempt."""
    root = directory({"b": b"2"})
    _stream(begin(root, attempt=2), watched, "a", b"1")
    published = publisher(watched, ledgers=tmp_path / "ledgers").publish(root, "run", owner="me")
    assert published.publication.files == 2
    assert list((tmp_path / "ledgers").iterdir()) == []


@pytest.fixture
def streamed(watched: Any, begin: Callable[..., Publishing], directory: Directory) -> Path:
    """An output directory whose workflow streamed `a` to ``outputs/run``, and was killed before the publication."""
    root = directory({"b": b"2"})
    _stream(begin(root), watched, "a", b"1")
    return root


def _is_kept(store: Any) -> bool:
    """Whether what was streamed is in the store still, and nothing is published.

    A claim that was being taken when publishing was refused is given back a moment later.
    """
    deadline = time.monotonic() + 10
    while (keys := [info.key for info in store.list("outputs")]) != ["outputs/run/a"] and time.monotonic() < deadline:
        time.sleep(0.01)
    return keys == ["outputs/run/a"]


@pytest.mark.parametrize("name", ["run", "other"])
def test_without_its_ledger_nothing_is_published(
    watched: Any, publisher: MakePublisher, streamed: Path, tmp_path: Path, name: str
):
    """Another data_dir, another name: chunks that nobody knows of are neither left out nor deleted."""
    with pytest.raises(PublicationError, match=r"1 objects of .* were streamed to outputs/run, and the ledger"):
        publisher(watched, ledgers=tmp_path / "elsewhere").publish(streamed, name)
    with pytest.raises(PublicationError, match="the ledger"):
        publisher(watched).publish(streamed, name, owner="me")
    assert _is_kept(watched)


def test_a_ledger_that_lacks_a_row_is_refused(
    watched: Any, begin: Callable[..., Publishing], streamed: Path, tmp_path: Path
):
    """As after a machine that crashed, or a disk that lost a part."""
    (ledger,) = (tmp_path / "ledgers").glob("*.streamed")
    ledger.write_bytes(ledger.read_bytes()[:-9])
    with pytest.raises(PublicationError, match="the ledger"):
        begin(streamed, afresh=False).finish()
    assert _is_kept(watched)


def test_a_run_that_did_not_end_is_not_published(watched: Any, begin: Callable[..., Publishing], streamed: Path):
    """Its mark does not say yet what all there is."""
    write_mark(streamed, StreamMark("outputs/run"))
    with pytest.raises(PublicationError, match="did not come to its end"):
        begin(streamed, afresh=False).finish()
    assert _is_kept(watched)


def test_another_directory_is_not_published_over_what_was_streamed(
    watched: Any, begin: Callable[..., Publishing], streamed: Path, directory: Directory
):
    """The ledger of this name is that of the directory which says so."""
    del streamed
    with pytest.raises(PublicationError, match="streamed 1 objects under this name"):
        begin(directory({"b": b"3"}, "other"), afresh=False).finish()
    assert _is_kept(watched)


def test_what_was_streamed_cannot_be_published_in_place(streamed: Path):
    """The API would serve a zarr store without its chunks."""
    with pytest.raises(PublicationError, match="the ledger"):
        publish_in_place(streamed, "run")


def test_what_was_streamed_is_known_from_the_manifest_once_it_is_committed(
    watched: Any, begin: Callable[..., Publishing], streamed: Path
):
    """Killed between the commit and its record, the same publication is found and not a second one made without it."""
    first = begin(streamed, afresh=False).finish()
    again = begin(streamed, attempt=2, afresh=False).finish()
    assert again.publication.prefix == first.publication.prefix == "outputs/run"
    assert again.publication.files == 2
    assert {info.key for info in watched.list("outputs")} == {
        "outputs/run/a",
        "outputs/run/b",
        f"outputs/run/{MANIFEST_PATH}",
    }


def test_what_was_streamed_is_published_nowhere_else(watched: Any, begin: Callable[..., Publishing], streamed: Path):
    """Where somebody else has committed there meanwhile, nothing is published that would lack the streamed objects."""
    watched.inner.put(f"outputs/run/{MANIFEST_PATH}", b"no manifest")
    with pytest.raises(PublicationError, match="cannot be published at outputs/run-2"):
        begin(streamed, afresh=False).finish()
