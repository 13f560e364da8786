"""A store that can be made to fail, and files to move."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

import pytest

from wildcast_server import RunContext
from wildcast_server.errors import UnsupportedError
from wildcast_server.publish.scan import scan
from wildcast_server.store import ObjectAttributes, open_store
from wildcast_server.store._obstore import ObstoreStore
from wildcast_server.transfer import LocalFile
from wildcast_server.transfer.streamed import Streamed
from wildcast_server.transfer.streaming import StreamingSink


class WatchedStore(ObstoreStore):
    """A memory store that counts requests and the bytes in flight, and calls a hook before each write."""

    def __init__(self) -> None:
        memory = open_store("memory://")
        assert isinstance(memory, ObstoreStore)
        super().__init__(memory.uri, memory._driver)
        self.hook: Callable[[str], None] = lambda _key: None
        self.puts: list[str] = []
        self.held = self.peak_held = self.requests = self.peak_requests = 0
        self._lock = Lock()

    def _hold(self, size: int, requests: int) -> None:
        with self._lock:
            self.held += size
            self.requests += requests
            self.peak_held = max(self.peak_held, self.held)
            self.peak_requests = max(self.peak_requests, self.requests)

    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        self._hold(len(data), 1)
        try:
            self.hook(key)
            etag = super().put(key, data, attributes)
            self.puts.append(key)
            return etag
        finally:
            self._hold(-len(data), -1)

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
        held: list[bytes] = []

        def watched():
            for part in parts:
                held.append(part)
                self._hold(len(part), 0)
                # As many wait as the port allows.
                if len(held) > concurrency + 1:
                    self._hold(-len(held.pop(0)), 0)
                self.hook(key)
                yield part

        self._hold(0, concurrency)
        try:
            etag = super().put_parts(
                key,
                watched(),
                part_size=part_size,
                concurrency=concurrency,
                attributes=attributes,
                if_absent=if_absent,
                size=size,
            )
            self.puts.append(key)
            return etag
        finally:
            self._hold(-sum(map(len, held)), -concurrency)


class StreamedStore(ObstoreStore):
    """A memory store that notes how files were streamed into it, and can be made to fail."""

    def __init__(self) -> None:
        memory = open_store("memory://")
        assert isinstance(memory, ObstoreStore)
        super().__init__(memory.uri, memory._driver)
        self.hook: Callable[[str], None] = lambda _key: None
        self.puts: list[str] = []
        self.uploads: dict[str, list[int]] = {}
        self.attributes: dict[str, ObjectAttributes | None] = {}
        self.concurrency: dict[str, int] = {}
        self.conditional: list[str] = []
        self.completed: list[str] = []

    def put(self, key: str, data: bytes, attributes: ObjectAttributes | None = None) -> str | None:
        self.hook(key)
        self.puts.append(key)
        self.attributes[key] = attributes
        return super().put(key, data, attributes)

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
        del size
        self.uploads[key], self.concurrency[key] = [], concurrency
        self.attributes[key] = attributes
        if if_absent:
            self.conditional.append(key)
            raise UnsupportedError("not here", key)

        def watched():
            for part in parts:
                self.hook(key)
                self.uploads[key].append(len(part))
                yield part

        etag = super().put_parts(key, watched(), part_size=part_size, concurrency=concurrency, attributes=attributes)
        self.completed.append(key)
        return etag


@pytest.fixture
def watched() -> WatchedStore:
    """A memory store that counts, and can be made to fail."""
    return WatchedStore()


@pytest.fixture
def output(tmp_path: Path) -> Callable[..., list[LocalFile]]:
    """Write files below a fresh directory and return their scan: ``output({"a/b": b"…"})``."""

    def write(contents: dict[str, bytes]) -> list[LocalFile]:
        root = tmp_path / "output"
        for path, data in contents.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
            # Long ago, so that any later write shows in the time of modification.
            os.utime(root / path, (1_700_000_000, 1_700_000_000))
        return scan(root)

    return write


@pytest.fixture(scope="session")
def streamed_store() -> type[StreamedStore]:
    """The class, for tests that need several, or a kind of their own."""
    return StreamedStore


@pytest.fixture
def store():
    """A memory store that notes how files were streamed into it."""
    return StreamedStore()


@pytest.fixture
def ledger(tmp_path):
    """Where the sink records what it wrote."""
    return tmp_path / "streamed"


@pytest.fixture
def sink(store, ledger, tmp_path):
    """A sink of parts of 5 MiB, for the prefix p/exec."""
    (tmp_path / "output").mkdir()
    made = StreamingSink(tmp_path / "output", Streamed(store, "p/exec", ledger, part_size=5 << 20))
    yield made
    made.abort()


@pytest.fixture
def context(sink, tmp_path):
    """A run that streams."""
    return RunContext("exec_0_00000000", tmp_path / "output", sink=sink)
