"""Publishing while the directory is still being written."""

import logging
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.errors import ExecutionCancelledError, NetworkError
from wildcast_server.publish import Publisher, live
from wildcast_server.publish.scan import scan
from wildcast_server.publish.settling import SETTLED_NS, Settling
from wildcast_server.store import open_store
from wildcast_server.transfer.files import TransferProgress

Directory = Callable[..., Path]
MakePublisher = Callable[..., Publisher]

METADATA = {"s/zarr.json": b'{"node_type": "array"}'}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _rest(path: Path, seconds: float = 5) -> None:
    """Let a file look as if nobody had touched it for some seconds."""
    when = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(when, when))


def _nobody() -> None:
    return None


@pytest.fixture
def settling(directory: Directory) -> Iterator[Settling]:
    """Look at a directory with one file that rests."""
    root = directory({"a": b"1"})
    _rest(root / "a")
    made = Settling(root)
    yield made
    made.close()


@pytest.fixture
def root(settling: Settling) -> Path:
    """That directory."""
    return settling._directory


def _paths(settling: Settling, group: int | None = None) -> list[str]:
    return [file.path for file in settling.look(group)]


def test_a_file_settles_at_the_second_look(settling: Settling):
    """One look cannot tell what is being written."""
    assert [_paths(settling), _paths(settling)] == [[], ["a"]]


def test_a_file_that_changed_between_two_looks_has_not_settled(settling: Settling, root: Path):
    """Size, time and identity must all be as they were."""
    settling.look(None)
    (root / "a").write_bytes(b"22")
    _rest(root / "a")
    assert _paths(settling) == []
    assert _paths(settling) == ["a"]


def test_a_young_file_has_not_settled(settling: Settling, root: Path):
    """Within the tick of the kernel's clock, a write would leave the time as it is."""
    (root / "a").write_bytes(b"1")
    assert [_paths(settling), _paths(settling)] == [[], []]
    _until(lambda: _paths(settling) == ["a"])
    assert time.time_ns() - (root / "a").stat().st_mtime_ns >= SETTLED_NS


def test_a_time_in_whole_seconds_may_be_rounded(settling: Settling, root: Path):
    """Such a file must rest longer."""
    when = int(time.time() - 1) * 1_000_000_000
    os.utime(root / "a", ns=(when, when))
    assert [_paths(settling), _paths(settling)] == [[], []]


def test_what_is_no_data_is_left_to_the_end(settling: Settling, root: Path):
    """Metadata, links, FIFOs, names that no object can have, and what is ours."""
    (root / "zarr.json").write_bytes(b"{}")
    (root / "link").symlink_to("a")
    os.mkfifo(root / "fifo")
    (root / "line\nbreak").touch()
    (root / ".wildcast").mkdir()
    (root / ".wildcast" / "x").touch()
    for path in ("zarr.json", "line\nbreak", ".wildcast/x"):
        _rest(root / path)
    settling.look(None)
    assert _paths(settling) == ["a"]


def test_a_file_that_is_rewritten_again_and_again_waits_longer(settling: Settling, root: Path):
    """Each upload of it makes the next one rarer."""
    settling.look(None)
    settling.uploaded("a")
    _rest(root / "a", 1)
    assert [_paths(settling), _paths(settling)] == [[], []]
    _rest(root / "a", 4)
    assert [_paths(settling), _paths(settling)] == [[], ["a"]]


NO_GROUP = 1 << 30
"""Greater than any process's id may be."""

WRITERS = {
    "open for writing": "file = open(path, 'r+b')",
    "mapped": "import mmap; f = open(path, 'r+b'); m = mmap.mmap(f.fileno(), 0); f.close()",
}


@pytest.mark.skipif(not Settling.is_possible(), reason="needs /proc")
@pytest.mark.parametrize("how", WRITERS)
def test_a_file_that_the_group_may_write_has_not_settled(settling: Settling, root: Path, how: str):
    """Until the process ends, however old the file is; other groups do not matter."""
    code = f"import sys; path = sys.argv[1]; {WRITERS[how]}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        _rest(root / "a")
        settling.look(child.pid)
        assert _paths(settling, child.pid) == []
        assert _paths(settling, NO_GROUP) == ["a"]
        child.communicate()
    assert _paths(settling, child.pid) == ["a"]


@pytest.mark.skipif(not Settling.is_possible(), reason="needs /proc")
def test_a_child_that_left_the_group_is_one_of_those_who_write(settling: Settling, root: Path):
    """A worker in a session of its own may hold a file that no time tells of."""
    code = "import os, sys; file = open(sys.argv[1], 'r+b'); os.setsid(); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        _rest(root / "a")
        settling.look(os.getpgid(0))
        assert _paths(settling, os.getpgid(0)) == []
        child.communicate()
    assert _paths(settling, os.getpgid(0)) == ["a"]


@pytest.mark.skipif(not Settling.is_possible(), reason="needs /proc")
def test_reading_is_no_writing(settling: Settling, root: Path):
    """Who has a file open or mapped for reading alone holds nothing up."""
    with (root / "a").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        settling.look(os.getpgid(0))
        assert _paths(settling, os.getpgid(0)) == ["a"]


def test_what_settles_is_stored_before_the_end(watched: Any, publisher: MakePublisher, directory: Directory):
    """At the end only metadata and the manifest are left to write."""
    root = directory({"data/a": b"1", "data/b": b"22", **METADATA})
    begun = publisher(watched).begin(root, "run", afresh=True)
    seen: list[TransferProgress] = []
    with begun.live(_nobody, seen.append):
        _until(lambda: len(watched.written) == 2 and bool(seen) and seen[-1].files_done == 2)
    assert sorted(watched.written) == ["outputs/run/data/a", "outputs/run/data/b"]
    assert (seen[-1].files_done, seen[-1].files_total, seen[-1].bytes_done) == (2, 2, 3)
    watched.written.clear()
    published = begun.finish()
    assert watched.written == ["outputs/run/s/zarr.json", f"outputs/run/{MANIFEST_PATH}"]
    assert [row.path for row in published.manifest.rows] == ["data/a", "data/b", "s/zarr.json"]


@pytest.mark.parametrize("change", ["rewritten", "replaced", "removed"])
def test_the_final_scan_is_the_truth(watched: Any, publisher: MakePublisher, directory: Directory, change: str):
    """What was written again after it was uploaded is uploaded again; what is gone is no object."""
    root = directory({"a": b"1", "b": b"2"})
    begun = publisher(watched).begin(root, "run", afresh=True)
    with begun.live(_nobody):
        _until(lambda: len(watched.written) == 2)
    if change == "rewritten":
        (root / "a").write_bytes(b"9")
    elif change == "replaced":
        about = (root / "a").stat()
        (root / "new").write_bytes(b"9")
        os.utime(root / "new", ns=(about.st_mtime_ns, about.st_mtime_ns))
        (root / "new").rename(root / "a")
    else:
        (root / "a").unlink()
    begun.finish()
    found = {info.key.rpartition("/")[2]: watched.inner.get(info.key) for info in watched.list("outputs/run")}
    found.pop(MANIFEST_PATH.rpartition("/")[2])
    assert found == ({"b": b"2"} if change == "removed" else {"a": b"9", "b": b"2"})


def test_a_store_that_is_away_costs_one_warning(
    watched: Any,
    publisher: MakePublisher,
    directory: Directory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """The workflow goes on, uploading is tried again, and the end decides."""
    monkeypatch.setattr(live, "AFTER_FAILURE_SECONDS", 0.05)
    tries: list[str] = []

    def away(key: str, _data: bytes) -> bytes:
        tries.append(key)
        raise NetworkError(f"{key} cannot be reached", key)

    watched.change = away
    begun = publisher(watched).begin(directory({"a": b"1"}), "run", afresh=True)
    with caplog.at_level(logging.WARNING), begun.live(_nobody):
        _until(lambda: len(tries) == 3)
    assert caplog.text.count("is interrupted and tried again") == 1
    watched.change = lambda _key, data: data
    assert begun.finish().publication.files == 1


def test_nothing_is_written_after_the_context(watched: Any, publisher: MakePublisher, directory: Directory):
    """When it is left, no upload is in flight; where nothing was written, nothing is there."""
    root = directory({f"{number:03}": b"x" for number in range(300)})
    begun = publisher(watched).begin(root, "run", afresh=True)
    with begun.live(_nobody):
        _until(lambda: len(watched.written) > 10)
    written = len(watched.written)
    begun.abandon()
    assert len(watched.written) == written
    assert list(watched.list("outputs")) == []


def test_a_store_that_does_not_answer_holds_up_no_cancel(watched: Any, publisher: MakePublisher, directory: Directory):
    """Where a cancel ends the context, what hangs is left alone; it sends nothing further once it is answered."""
    answers, asked = threading.Event(), threading.Event()

    def hang(_key: str, data: bytes) -> bytes:
        asked.set()
        answers.wait()
        return data

    watched.change = hang
    begun = publisher(watched).begin(directory({"a": b"1", "b": b"2"}), "run", afresh=True)
    context = begun.live(_nobody)
    context.__enter__()
    asked.wait()
    began = time.monotonic()
    context.__exit__(ExecutionCancelledError, ExecutionCancelledError("cancelled"), None)
    assert time.monotonic() - began < 3
    answers.set()
    _until(lambda: not any(thread.name == "publish-live" for thread in threading.enumerate()))
    begun.close()


def test_a_directory_that_is_not_there_yet(watched: Any, publisher: MakePublisher, tmp_path: Path):
    """The workflow makes it when it begins."""
    root = tmp_path / "late"
    begun = publisher(watched).begin(root, "run", afresh=True)
    with begun.live(_nobody):
        root.mkdir()
        (root / "a").write_bytes(b"1")
        _until(lambda: watched.written == ["outputs/run/a"])
    assert begun.finish().publication.files == 1
    assert [path.name for path in tmp_path.iterdir()] == ["late"]


def test_what_was_published_live_survives_a_kill(
    watched: Any, publisher: MakePublisher, directory: Directory, tmp_path: Path
):
    """After a restart, an output that is complete is gone on with: nothing is sent twice."""
    root, ledgers = directory({"a": b"1", "b": b"2"}), tmp_path / "ledgers"
    begun = publisher(watched, ledgers=ledgers).begin(root, "run", afresh=True)
    with begun.live(_nobody):
        _until(lambda: len(watched.written) == 2)
    watched.written.clear()
    publisher(watched, ledgers=ledgers).begin(root, "run").finish()
    assert watched.written == [f"outputs/run/{MANIFEST_PATH}"]


def _publish_live(publishing: Any) -> None:
    """Upload all that is there, as the thread does."""
    publishing._upload_live(scan(publishing._wanted.directory), lambda: None)


def test_a_file_that_was_rewritten_under_its_old_time_is_sent_again(
    watched: Any, publisher: MakePublisher, directory: Directory
):
    """Some programs set the times of what they write; the size, the time and the inode are then those of before."""
    root = directory({"a": b"1"})
    os.utime(root / "a", (0, 0))
    begun = publisher(watched).begin(root, "run")
    _publish_live(begun)
    (root / "a").write_bytes(b"2")
    os.utime(root / "a", (0, 0))
    begun.finish()
    assert watched.get("outputs/run/a") == b"2"


@pytest.mark.parametrize(("before", "after"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_may_become_a_directory_after_it_was_published_live(
    publisher: MakePublisher, directory: Directory, tmp_path: Path, before: str, after: str
):
    """And a directory a file; a store of files cannot hold both."""
    root, store = directory({before: b"1"}), open_store((tmp_path / "objects").as_uri())
    begun = publisher(store).begin(root, "run")
    _publish_live(begun)
    shutil.rmtree(root)
    begun._wanted.directory.mkdir()
    directory({after: b"2"})
    assert [row.path for row in begun.finish().manifest.rows] == [after]
    assert store.get(f"outputs/run/{after}") == b"2"
