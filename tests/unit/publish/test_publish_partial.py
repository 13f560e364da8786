"""Showing what is stored while the directory is still being written."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from wildcast.contract.manifest import Dataset, Manifest
from wildcast.contract.naming import PARTIAL_PATH
from wildcast_server.publish import Publisher, Publishing, partial, read_manifest
from wildcast_server.publish.partial import read_partial

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

METADATA = {"s/zarr.json": b'{"node_type": "array"}'}


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 15
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def _rest(path: Path, seconds: float = 5) -> None:
    """Let a file look as if nobody had touched it for some seconds."""
    when = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(when, when))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _rest(path)


def _shown(store: Any, prefix: str = "outputs/x") -> dict[str, int]:
    found = read_partial(store, prefix)
    return {} if found is None else {row.path: row.size for row in found.rows}


def _keys(store: Any) -> list[str]:
    return sorted(info.key for info in store.list("outputs"))


@contextmanager
def _live(publishing: Publishing) -> Iterator[None]:
    with publishing.live(lambda: None):
        yield


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """List as often as the directory is looked at."""
    monkeypatch.setattr(partial, "SHOW_SECONDS", 0.05)
    monkeypatch.setattr(partial, "_METADATA_SECONDS", 0.05)


@pytest.fixture
def root(directory: Directory) -> Path:
    """A directory with two files that rest."""
    made = directory({"a": b"1", "b": b"22"})
    _rest(made / "a")
    _rest(made / "b")
    return made


@pytest.fixture
def begin(watched: Any, publisher: MakePublisher, root: Path, tmp_path: Path) -> Callable[..., Publishing]:
    """Begin to publish that directory as ``x``, with a ledger."""

    def make(**options: Any) -> Publishing:
        return publisher(watched, ledgers=tmp_path / "ledgers").begin(root, "x", **options)

    return make


def test_nothing_is_shown_before_somebody_asks(watched: Any, begin: Callable[..., Publishing], root: Path):
    """Nobody pays for what nobody reads."""
    publishing = begin()
    with _live(publishing):
        _until(lambda: len(_keys(watched)) == 2)
        _write(root / "c", b"333")
        _until(lambda: len(_keys(watched)) > 2)
    assert _keys(watched) == [f"outputs/x/{name}" for name in "abc"]
    publishing.close()


def test_what_is_stored_is_shown(watched: Any, begin: Callable[..., Publishing], root: Path):
    """With sizes and checksums, as soon as it is verified; what comes later is added."""
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
        _write(root / "c", b"333")
        _until(lambda: _shown(watched) == {"a": 1, "b": 2, "c": 3})
    shown = read_partial(watched, "outputs/x")
    published = publishing.finish()

    assert isinstance(shown, Manifest)
    assert (shown.execution, shown.attempt, shown.verified) == ("x", 1, "read-back")
    assert {row.path: row.crc64nvme for row in shown.rows} == {
        row.path: row.crc64nvme for row in published.manifest.rows
    }
    assert published.publication.prefix == "outputs/x"
    assert f"outputs/x/{PARTIAL_PATH}" not in _keys(watched)


def test_asked_in_the_middle(watched: Any, begin: Callable[..., Publishing]):
    """What was stored before is shown as well, and nothing is sent twice."""
    publishing = begin()
    with _live(publishing):
        _until(lambda: len(_keys(watched)) == 2)
        publishing.share()
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
    publishing.finish()
    assert [watched.written.count(f"outputs/x/{name}") for name in "ab"] == [1, 1]


def test_a_file_that_is_gone_is_not_shown_any_more(watched: Any, begin: Callable[..., Publishing], root: Path):
    """A workflow may remove what it needed for a while."""
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
        (root / "b").unlink()
        _until(lambda: _shown(watched) == {"a": 1})
    assert [row.path for row in publishing.finish().manifest.rows] == ["a"]


def test_a_zarr_store_is_readable_while_it_is_written(
    watched: Any, begin: Callable[..., Publishing], root: Path, tmp_path: Path
):
    """Its metadata comes after the data that it describes, and again when it has changed."""
    store = root / "t.zarr"
    array = np.arange(6.0)
    xr.Dataset({"t": ("time", array[:3])}).to_zarr(store, zarr_format=2, consolidated=False, encoding=_chunks())
    _settle(store)
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: {"t.zarr/.zgroup", "t.zarr/t/.zarray", "t.zarr/t/0"} <= _shown(watched).keys())
        assert read_partial(watched, "outputs/x").datasets == (Dataset(path="t.zarr", format="zarr2"),)
        np.testing.assert_array_equal(_opened(watched, tmp_path / "first"), array[:3])
        xr.Dataset({"t": ("time", array[3:])}).to_zarr(store, append_dim="time", consolidated=False)
        _settle(store)
        _until(lambda: _shown(watched).get("t.zarr/t/1") and _shape(watched) == [6])
        np.testing.assert_array_equal(_opened(watched, tmp_path / "second"), array)
    assert publishing.finish().publication.prefix == "outputs/x"


def _chunks() -> dict[str, Any]:
    return {"t": {"chunks": (3,)}}


def _settle(store: Path) -> None:
    for path in store.rglob("*"):
        if path.is_file():
            _rest(path)


def _shape(store: Any) -> list[int]:
    return list(json.loads(store.get("outputs/x/t.zarr/t/.zarray"))["shape"])


def _opened(store: Any, target: Path) -> Any:
    """Open what is shown, and only that."""
    for path in _shown(store):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(store.get(f"outputs/x/{path}"))
    return zarr.open_group(target / "t.zarr", mode="r")["t"][:]


def test_metadata_that_is_half_written_is_not_shown(watched: Any, begin: Callable[..., Publishing], root: Path):
    """The version before stays."""
    publishing = begin()
    publishing.share()
    (root / "s").mkdir()
    _write(root / "s" / "zarr.json", METADATA["s/zarr.json"])
    with _live(publishing):
        _until(lambda: "s/zarr.json" in _shown(watched))
        _write(root / "s" / "zarr.json", b'{"node_type": ')
        _write(root / "c", b"333")
        _until(lambda: "c" in _shown(watched))
        assert watched.get("outputs/x/s/zarr.json") == METADATA["s/zarr.json"]
        assert _shown(watched)["s/zarr.json"] == len(METADATA["s/zarr.json"])
    publishing.close()


def test_what_was_shown_is_never_rewritten(watched: Any, begin: Callable[..., Publishing], root: Path):
    """A file that changed goes, with all others, to the next place; the old one is emptied after the commit."""
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
        _write(root / "a", b"9")
        _write(root / "c", b"333")
        _until(lambda: "c" in _shown(watched))
        # Far longer than it takes to see the change: the slow-down of rewritten files is ten-fold.
        _rest(root / "a", 60)
        _write(root / "d", b"4444")
        _until(lambda: "d" in _shown(watched))
        assert watched.get("outputs/x/a") == b"1"
    published = publishing.finish()

    assert published.publication.prefix == "outputs/x-2"
    assert watched.written.count("outputs/x/a") == 1
    assert watched.get("outputs/x-2/a") == b"9"
    assert all(key.startswith("outputs/x-2/") for key in _keys(watched))


def test_what_was_rewritten_with_the_same_bytes_stays(watched: Any, begin: Callable[..., Publishing], root: Path):
    """Nobody sees a difference."""
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
        _write(root / "a", b"1")
    assert publishing.finish().publication.prefix == "outputs/x"


@pytest.mark.parametrize("has_ledger", [True, False])
@pytest.mark.parametrize(("data", "prefix"), [(b"1", "outputs/x"), (b"9", "outputs/x-2"), (b"99", "outputs/x-2")])
def test_another_process_knows_what_was_shown(
    watched: Any,
    publisher: MakePublisher,
    begin: Callable[..., Publishing],
    root: Path,
    data: bytes,
    prefix: str,
    *,
    has_ledger: bool,
):
    """As when the publication is made by another one than the computation, or after a kill."""
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
    publishing.close()
    _write(root / "a", data)

    again = begin if has_ledger else (lambda **options: publisher(watched).begin(root, "x", **options))
    published = again(may_be_seen=True).finish()

    assert published.publication.prefix == prefix
    assert watched.get(f"{prefix}/a") == data
    assert all(key.startswith(f"{prefix}/") for key in _keys(watched))


def test_another_attempt_never_writes_where_readers_have_looked(watched: Any, begin: Callable[..., Publishing]):
    """What was shown is taken back and removed; the next attempt goes elsewhere, and so does who publishes it."""
    first = begin()
    first.share()
    with _live(first):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
    first.abandon()
    assert _keys(watched) == [f"outputs/x/{PARTIAL_PATH}"]
    assert _shown(watched) == {}

    second = begin(afresh=True, may_be_seen=True)
    assert second.prefix == "outputs/x-2"
    second.share()
    with _live(second):
        _until(lambda: _shown(watched, "outputs/x-2") == {"a": 1, "b": 2})
    second.close()
    published = begin(may_be_seen=True).finish()

    assert published.publication.prefix == "outputs/x-2"
    assert _keys(watched) == [f"outputs/x-2/{name}" for name in (".wildcast/manifest.json.gz", "a", "b")]


def test_an_attempt_that_was_killed_is_taken_back(watched: Any, begin: Callable[..., Publishing]):
    """The next one finds what it had shown, and removes all but the sign of it."""
    first = begin()
    first.share()
    with _live(first):
        _until(lambda: _shown(watched) == {"a": 1, "b": 2})
    first.close()

    second = begin(afresh=True, may_be_seen=True, attempt=2)

    assert second.prefix == "outputs/x-2"
    assert _keys(watched) == [f"outputs/x/{PARTIAL_PATH}"]
    assert _shown(watched) == {}
    second.close()


def test_a_store_that_lost_something_is_not_believed(
    watched: Any, begin: Callable[..., Publishing], caplog: pytest.LogCaptureFixture
):
    """What it does not hold is never shown, and sent again."""
    lost = []

    def lose(key: str, data: bytes) -> bytes | None:
        if key == "outputs/x/a" and not lost:
            lost.append(key)
            return None
        return data

    watched.change = lose
    publishing = begin()
    publishing.share()
    with _live(publishing):
        _until(lambda: "does not hold what was sent as outputs/x/a" in caplog.text)
    assert _shown(watched) == {}
    published = publishing.finish()
    assert read_manifest(watched, "outputs/x") == published.manifest
    assert watched.get("outputs/x/a") == b"1"
