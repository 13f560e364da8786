"""Reading from a store of files: what the driver would have read, without it."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wildcast_server.errors import (
    AccessDeniedError,
    InvalidKeyError,
    NotFoundError,
    RangeNotSatisfiableError,
)
from wildcast_server.store import ByteRange, ObjectInfo, ObjectStore, OffsetRange, SuffixRange, open_store
from wildcast_server.store._obstore import ObstoreStore


def streamed(store: ObjectStore, key: str, byte_range: Any = None) -> tuple[ObjectInfo, bytes]:
    async def read() -> tuple[ObjectInfo, bytes]:
        stream = await store.stream(key, byte_range)
        return stream.info, b"".join([chunk async for chunk in stream.chunks])

    return asyncio.run(read())


READS = [
    pytest.param(lambda store, key, *wanted: store.get(key, *wanted), id="get"),
    pytest.param(streamed, id="stream"),
]
LOOKS = [*READS, pytest.param(lambda store, key: store.head(key), id="head")]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("moment", [1_234_567_890_123_456_789, 999, 0, -1, -1_500_000_001])
def test_a_file_is_described_as_the_driver_describes_it(tmp_path: Path, moment: int) -> None:
    """The same ETag, time and size from all of them, or conditional requests would not fit together."""
    store = open_store(tmp_path.as_uri())
    etag = store.put("dir/object", b"12345")
    assert store.head("dir/object").etag == etag
    os.utime(tmp_path / "dir" / "object", ns=(0, moment))
    changed = store.head("dir/object")
    assert changed.etag != etag
    assert changed == ObstoreStore.head(store, "dir/object")  # type: ignore[arg-type]
    assert streamed(store, "dir/object")[0] == changed
    assert [changed] == list(store.list())


@pytest.mark.parametrize(
    "name", ["a b", "100%", "%2e%2e", "q?x#y", "plot#1", "ü", "u\u0308", "日本/図.nc", "a\\b", "\u202ex"]
)
def test_a_file_is_found_under_its_own_name(tmp_path: Path, name: str) -> None:
    """In a directory with an odd name too; no character of a key means anything."""
    root = tmp_path / "odd %20 root?#ü"
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"here")
    store = open_store(root.as_uri())
    assert streamed(store, name)[1] == store.get(name) == b"here"
    assert (store.head(name).key, store.head(name).size) == (name, 4)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "kind", ["directory", "pipe", "socket", "device", "below a file", "missing", "dangling", "long"]
)
def test_what_is_no_file_is_not_there(tmp_path: Path, look: Callable[..., Any], kind: str) -> None:
    """Nor does anybody wait for a pipe's writer."""
    store = open_store(tmp_path.as_uri())
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()
    key = {"below a file": "file/x", "long": "n" * 300}.get(kind, kind)
    before = open_descriptors()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(InvalidKeyError if kind == "long" else NotFoundError, match=key[:20]):
            look(store, key)
    assert open_descriptors() == before


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have no rights but everybody's: root may read everything."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("look", LOOKS)
def test_a_file_that_may_not_be_read_is_no_missing_one(tmp_path: Path, look: Callable[..., Any]) -> None:
    """Looking at it is refused as reading is."""
    (tmp_path / "object").write_bytes(b"123")
    (tmp_path / "object").chmod(0)
    store = open_store(tmp_path.as_uri())
    with as_nobody(), pytest.raises(AccessDeniedError, match="owner and mode"):
        look(store, "object")


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("byte_range", [ByteRange(3, 4), OffsetRange(3), SuffixRange(0)], ids=str)
def test_a_refused_range_leaves_no_file_open(tmp_path: Path, read: Callable[..., Any], byte_range: Any) -> None:
    """The file has to be opened to know its size."""
    (tmp_path / "object").write_bytes(b"123")
    store = open_store(tmp_path.as_uri())
    before = open_descriptors()
    with pytest.raises(RangeNotSatisfiableError):
        read(store, "object", byte_range)
    assert open_descriptors() == before
