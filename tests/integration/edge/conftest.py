"""An edge on a real server on loopback, with a store that can be told to fail."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import httpx
import pytest
import uvicorn

from wildcast.contract.naming import quote_key
from wildcast_server.edge.app import create_edge
from wildcast_server.errors import StoreError, StoreIoError
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.signing.keys import generate_private_key
from wildcast_server.signing.verify import Verifier
from wildcast_server.store.base import ObjectAttributes, ObjectRange, ObjectStore, ObjectStream
from wildcast_server.store.opening import open_store

PREFIX = "outputs/exec_1"
DATA = bytes(range(256)) * 40
KEY = generate_private_key()


class FaultyStore(ObjectStore):
    """Passes all on to a real store, save `stream`, which fails as it is told to."""

    def __init__(self, inner: ObjectStore) -> None:
        self.uri = inner.uri
        self.inner = inner
        self.error: StoreError | None = None
        self.break_after: int | None = None
        self.cut = False
        self.open_streams = 0
        self.yielded = 0
        self.endless = False

    async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
        if self.error is not None:
            raise self.error
        stream = await self.inner.stream(key, byte_range)
        if self.endless:
            size = 2**40
            return replace(stream, info=replace(stream.info, size=size), stop=size, chunks=self._endless())
        return replace(stream, chunks=self._chunks(stream.chunks))

    async def _endless(self) -> AsyncIterator[bytes]:
        self.open_streams += 1
        try:
            while True:
                self.yielded += 1
                yield bytes(1 << 16)
                await asyncio.sleep(0)
        finally:
            self.open_streams -= 1

    async def _chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in chunks:
            if self.break_after is None:
                yield chunk
                continue
            yield chunk[: self.break_after - sent]
            sent += len(chunk)
            if sent >= self.break_after:
                if self.cut:
                    return
                raise StoreIoError("the disk is on fire")

    @property
    def checks_crc64nvme(self) -> bool:
        return self.inner.checks_crc64nvme

    def get(self, key: str, byte_range: ObjectRange | None = None) -> bytes:
        return self.inner.get(key, byte_range)

    def put(self, *args: object, **kwargs: object) -> str | None:
        return self.inner.put(*args, **kwargs)  # type: ignore[arg-type]

    put_if_absent = put_parts = full_checksum = list = delete = delete_prefix = put  # type: ignore[assignment]

    def head(self, key: str):
        return self.inner.head(key)


@dataclass
class Edge:
    """A running edge and what it takes to talk to it."""

    url: str
    store: FaultyStore
    signer: CloudFrontSigner
    client: httpx.Client

    def link(self, key: str, prefix: str = PREFIX) -> str:
        """Return a URL of `key` that is signed for `prefix`."""
        return f"{self.url}/{quote_key(key)}?{self.query(prefix)}"

    def query(self, prefix: str = PREFIX) -> str:
        """Return the query of a URL signed for `prefix`."""
        return self.signer.sign_prefix(prefix).url.partition("?")[2]

    def get(self, key: str, **headers: str) -> httpx.Response:
        """GET a signed key."""
        return self.client.get(self.link(key), headers=headers)

    def raw(self, target: str, *, method: str = "GET", host: str | None = None, extra: str = "") -> tuple[int, bytes]:
        """Send a request as it is, without a client that would tidy it up; return status and body."""
        authority = self.url.removeprefix("http://")
        lines = f"{method} {target} HTTP/1.1\r\nHost: {host or authority}\r\n{extra}Connection: close\r\n\r\n"
        name, _, port = authority.partition(":")
        with socket.create_connection((name, int(port)), timeout=10) as connection:
            connection.sendall(lines.encode("latin-1"))
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


@pytest.fixture(scope="module")
def running() -> Iterator[Edge]:
    """Return an edge on a free port, its store in memory."""
    store = FaultyStore(open_store("memory://"))
    fill(store.inner)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_edge(store, Verifier({"KTEST": KEY.public_key()}), public_url=url)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=30
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started)
    with httpx.Client(timeout=10) as client:
        yield Edge(url, store, CloudFrontSigner(url, "KTEST", KEY), client)
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def edge(running: Edge) -> Edge:
    """Return the edge with a store that works."""
    store = running.store
    store.error, store.break_after, store.cut, store.endless = None, None, False, False
    return running


def fill(store: ObjectStore) -> None:
    store.put(f"{PREFIX}/data.bin", DATA)
    store.put(f"{PREFIX}/zarr.json", b"{}")
    store.put(f"{PREFIX}/.wildcast/manifest.json.gz", b"gz")
    store.put(f"{PREFIX}/empty", b"")
    store.put(f"{PREFIX}/kept.bin", b"x", ObjectAttributes("text/x-own", "max-age=5"))
    store.put(f"{PREFIX}/a b+c%2e#ü?日.txt", b"odd")
    store.put(f"{PREFIX}/%2e%2e/secret", b"literal")
    store.put("outputs/exec_10/data.bin", b"sibling")
    store.put("outputs/exec_2/secret", b"other")
    store.put("secret", b"root")


def wait_until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
