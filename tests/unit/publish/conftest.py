"""Stores that lie and count, and directories to publish."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from wildcast_server.publish import Publisher
from wildcast_server.store import ObjectAttributes, ObjectInfo, ObjectRange, ObjectStore, ObjectStream, open_store
from wildcast_server.store.base import UnfinishedUpload
from wildcast_server.transfer import Transfer

Change = Callable[[str, bytes], bytes | None]


class FaultyStore(ObjectStore):
    """Passes everything on to a real store, records the writes, and damages them as told.

    Parameters
    ----------
    inner
        The real store.
    checks, md5
        What the store is to claim of itself.
    """

    def __init__(self, inner: ObjectStore, *, checks: bool = False, md5: bool = False) -> None:
        self.inner = inner
        self.uri = inner.uri
        self.written: list[str] = []
        self.reads: list[str] = []
        self.change: Change = lambda _key, data: data
        self.checks, self.md5 = checks, md5

    @property
    def checks_crc64nvme(self) -> bool:
        return self.checks

    @property
    def etags_are_md5(self) -> bool:
        return self.md5

    @property
    def is_on_disk(self) -> bool:
        return self.inner.is_on_disk

    def get(self, key: str, byte_range: ObjectRange | None = None) -> bytes:
        self.reads.append(key)
        return self.inner.get(key, byte_range)

    async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
        return await self.inner.stream(key, byte_range)

    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        self.written.append(key)
        changed = self.change(key, data)
        return '"lost"' if changed is None else self.inner.put(key, changed, attributes)

    def put_if_absent(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        self.written.append(key)
        changed = self.change(key, data)
        return '"lost"' if changed is None else self.inner.put_if_absent(key, changed, attributes)

    def put_parts(
        self,
        key: str,
        parts: Iterable[bytes],
        *,
        part_size: int,
        concurrency: int,
        attributes: ObjectAttributes | None = None,
        if_absent: bool = False,
        size: int | None = None,
    ) -> str | None:
        assert not if_absent
        self.written.append(key)
        changed = (self.change(key, part) or b"" for part in parts)
        return self.inner.put_parts(
            key, changed, part_size=part_size, concurrency=concurrency, attributes=attributes, size=size
        )

    def head(self, key: str) -> ObjectInfo:
        return self.inner.head(key)

    def full_checksum(self, key: str) -> str | None:
        return self.inner.full_checksum(key)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        return self.inner.list(prefix, after=after)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        return self.inner.unfinished_uploads(prefix)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        self.inner.abort_upload(upload)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def delete_prefix(self, prefix: str) -> int:
        return self.inner.delete_prefix(prefix)


@pytest.fixture
def faulty() -> type[FaultyStore]:
    """The class of stores that lie and count."""
    return FaultyStore


@pytest.fixture
def watched() -> FaultyStore:
    """A memory store that counts, and lies when told."""
    return FaultyStore(open_store("memory://"))


@pytest.fixture
def publisher() -> Callable[..., Publisher]:
    """Make a publisher into a store, below ``outputs``."""

    def make(
        store: ObjectStore, *, part_size: int = 5 << 20, prefix: str = "outputs", ledgers: Path | None = None
    ) -> Publisher:
        transfer = Transfer(store, max_concurrency=4, part_size=part_size)
        return Publisher(store, transfer, prefix=prefix, ledgers=ledgers)

    return make


@pytest.fixture
def directory(tmp_path: Path) -> Callable[..., Path]:
    """Write files into a fresh directory: ``directory({"a/b": b"…"})``."""

    def write(contents: dict[str, bytes], name: str = "output") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, data in contents.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root

    return write
