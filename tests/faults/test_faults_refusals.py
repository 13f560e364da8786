"""Stores that refuse, that are gone, and that are full: a clear error, and success the next time."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wildcast_server.errors import FileChangedError, WildcastServerError
from wildcast_server.publish import Publisher
from wildcast_server.store import open_store
from wildcast_server.transfer import Transfer

CANARY = "canary-secret"
Start = Callable[..., Any]
Make = Callable[..., Publisher]


@pytest.mark.parametrize(
    ("switch", "sentence"),
    [
        ("access_denied", r"access denied.*check the credentials and what they allow"),
        ("no_such_bucket", r"there is no such bucket.*create"),
        ("unavailable", r"s3://bucket.*(again|503|later)"),
    ],
)
def test_a_refusal_is_clear_and_the_next_time_succeeds(
    endpoint: Any,
    make_publisher: Make,
    work: Any,
    switch: str,
    sentence: str,
):
    """The error says what happened and what to do, without a secret; when that is mended, publishing again succeeds."""
    endpoint.ask("POST", "_control/reset")
    publisher = make_publisher(endpoint.url, retry_deadline=0.5)
    directory = work.make("refused")
    endpoint.switch(switch, on=True)
    try:
        with pytest.raises(WildcastServerError, match=sentence) as caught:
            publisher.publish(directory, directory.name)
    finally:
        endpoint.switch(switch, on=False)
    assert CANARY not in str(caught.value)
    publisher.publish(directory, directory.name)
    work.assert_published(endpoint, directory, "outputs/refused")


def test_an_endpoint_that_is_down_is_named(start_endpoint: Start, make_publisher: Make, work: Any):
    """Nobody listens: the error says so; once somebody does, the same publisher succeeds."""
    first = start_endpoint()
    port = first.url.rpartition(":")[2]
    publisher = make_publisher(first.url, retry_deadline=0.5)
    directory = work.make("down")
    first.stop()
    with pytest.raises(WildcastServerError, match=r"s3://bucket.*(reach|connect)") as caught:
        publisher.publish(directory, directory.name)
    assert CANARY not in str(caught.value)
    again = start_endpoint("--port", port)
    publisher.publish(directory, directory.name)
    work.assert_published(again, directory, "outputs/down")


@pytest.fixture
def small_disk() -> Iterator[Callable[[str], Path]]:
    """A file system of its own, made or made larger by calling this with a size."""
    # Not below tmp_path, which pytest removes later: what stays mounted there would hinder it.
    place = Path(tempfile.mkdtemp(prefix="wildcast-disk-"))

    def resize(size: str) -> Path:
        how = f"remount,size={size}" if os.path.ismount(place) else f"size={size}"
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(place)], check=False, capture_output=True
        )
        if made.returncode:
            pytest.skip("mounting a small file system needs privileges")
        return place

    yield resize
    # Lazily: a file that is still open must not keep it here for ever.
    subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)
    place.rmdir()


def test_a_full_store_is_named_and_the_next_time_succeeds(small_disk: Callable[[str], Path], work: Any):
    """A store of files whose disk is full says so; with more room, publishing again succeeds."""
    store = open_store(f"file://{small_disk('2m')}")
    publisher = Publisher(store, Transfer(store, part_size=5 << 20), prefix="outputs")
    directory = work.make("full", large=True)
    with pytest.raises(WildcastServerError, match=r"No space left|full") as caught:
        publisher.publish(directory, directory.name)
    assert "large" in str(caught.value)
    small_disk("100m")
    published = publisher.publish(directory, directory.name)
    assert store.get("outputs/full/large") == (directory / "large").read_bytes()
    assert published.publication.files == 8


def test_a_ledger_that_finds_no_room_stops_no_publication(
    endpoint: Any,
    make_publisher: Make,
    small_disk: Callable[[str], Path],
    work: Any,
):
    """The disk that takes no ledger costs a warning, not the publication."""
    endpoint.ask("POST", "_control/reset")
    disk = small_disk("4k")
    (disk / "filler").write_bytes(bytes(4096))
    publisher = make_publisher(endpoint.url, ledgers=disk)
    directory = work.make("no-ledger")
    publisher.publish(directory, directory.name)
    work.assert_published(endpoint, directory, "outputs/no-ledger")


def _grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def _shrink(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 7)


def _rewrite(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)


@pytest.mark.parametrize("change", [_grow, _shrink, _rewrite])
def test_a_file_that_changes_while_it_is_sent_fails_by_name(
    start_endpoint: Start,
    make_publisher: Make,
    work: Any,
    change: Callable[[Path], None],
):
    """Whatever was changed after the scan, and nothing is committed."""
    endpoint = start_endpoint("--delay-ms", "20")
    publisher = make_publisher(endpoint.url, concurrency=1)
    directory = work.make("changing", large=True)
    changed = False

    def on_progress(progress: Any) -> None:
        nonlocal changed
        if not changed and progress.files_done < progress.files_total:
            changed = True
            change(directory / "nested" / "4")
            change(directory / "large")

    with pytest.raises(FileChangedError, match=r"large|nested/4"):
        publisher.publish(directory, directory.name, on_progress=on_progress)
    assert "outputs/changing/.wildcast/manifest.json.gz" not in endpoint.objects()
    assert endpoint.stats()["unfinished_uploads"] == []
