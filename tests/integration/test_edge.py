"""The edge behind a real server on loopback: CloudFront's answers, byte for byte where they are known."""

import asyncio
import socket
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest
import uvicorn

from wildcast.contract.naming import quote_key
from wildcast_server.edge.app import create_edge
from wildcast_server.errors import (
    AccessDeniedError,
    InvalidKeyError,
    NetworkError,
    NoSuchBucketError,
    StoreError,
    StoreIoError,
)
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.signing.keys import generate_private_key
from wildcast_server.signing.verify import Verifier
from wildcast_server.store.base import ObjectAttributes, ObjectRange, ObjectStore, ObjectStream
from wildcast_server.store.opening import open_store

PREFIX = "outputs/exec_1"
DATA = bytes(range(256)) * 40
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
DENIED = f"{DECLARATION}<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"
MISSING_KEY = (
    f"{DECLARATION}<Error><Code>MissingKey</Code>"
    "<Message>Missing Key-Pair-Id query parameter or cookie value</Message></Error>"
)
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
        app, log_level="critical", access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=30
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


def code_of(answer: httpx.Response) -> str:
    return ET.fromstring(answer.content).findtext("Code") or ""  # noqa: S314 - our own server's XML


def test_an_object_is_served_whole(edge: Edge) -> None:
    """Bytes, length, and the headers that readers and caches need."""
    answer = edge.get(f"{PREFIX}/data.bin")
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["last-modified"].endswith(" GMT")
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("name", ["zarr.json", ".wildcast/manifest.json.gz"])
def test_what_describes_is_not_cached(edge: Edge, name: str) -> None:
    """Metadata and the manifest are asked for anew."""
    assert edge.get(f"{PREFIX}/{name}").headers["cache-control"] == "no-cache"


def test_what_the_store_keeps_wins(edge: Edge) -> None:
    """Content type and caching come from the object where it has them."""
    answer = edge.get(f"{PREFIX}/kept.bin")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("text/x-own", "max-age=5")


def test_an_odd_name_is_served(edge: Edge) -> None:
    """Percent-encoded once by the client, decoded once by the edge."""
    assert edge.get(f"{PREFIX}/a b+c%2e#ü?日.txt").content == b"odd"


def test_a_doubly_encoded_climb_is_a_name(edge: Edge) -> None:
    """``%252e%252e`` names the key that has ``%2e%2e`` in it, and nothing above."""
    assert edge.raw(f"/{PREFIX}/%252e%252e/secret?{edge.query()}") == (200, b"literal")


def test_an_empty_object_is_served(edge: Edge) -> None:
    """No bytes, and a length that says so."""
    answer = edge.get(f"{PREFIX}/empty")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_head_has_the_headers_of_get_and_no_body(edge: Edge) -> None:
    """The same length, type and ETag, whatever range is asked for."""
    got, head = edge.get(f"{PREFIX}/data.bin"), edge.client.head(edge.link(f"{PREFIX}/data.bin"))
    ranged = edge.client.head(edge.link(f"{PREFIX}/data.bin"), headers={"Range": "bytes=0-1"})
    volatile = {"date"}
    expected = {name: value for name, value in got.headers.items() if name not in volatile}
    assert head.content == b""
    for answer in (head, ranged):
        assert answer.status_code == 200
        assert {name: value for name, value in answer.headers.items() if name not in volatile} == expected


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=10000-", 10000, len(DATA)),
        ("bytes=-7", len(DATA) - 7, len(DATA)),
        ("bytes=10000-999999999999999999999999", 10000, len(DATA)),
        ("bytes=-999999999999999999999999", 0, len(DATA)),
        ("bytes=0-", 0, len(DATA)),
    ],
)
def test_a_range_is_served(edge: Edge, header: str, start: int, stop: int) -> None:
    """206, the bytes, and where they lie."""
    answer = edge.get(f"{PREFIX}/data.bin", Range=header)
    assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("header", ["bytes=5-1", "junk", "bytes=0-1,4-5", "items=0-1"])
def test_another_range_header_is_ignored(edge: Edge, header: str) -> None:
    """The whole object is a correct answer to any of them."""
    answer = edge.get(f"{PREFIX}/data.bin", Range=header)
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("data.bin", f"bytes={len(DATA)}-"),
        ("data.bin", "bytes=-0"),
        ("data.bin", f"bytes={10**30}-"),
        ("empty", "bytes=0-"),
    ],
)
def test_a_range_behind_the_end_is_not_satisfiable(edge: Edge, name: str, header: str) -> None:
    """416 with the size, in S3's XML."""
    answer = edge.get(f"{PREFIX}/{name}", Range=header)
    size = len(DATA) if name == "data.bin" else 0
    assert (answer.status_code, code_of(answer)) == (416, "InvalidRange")
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_a_suffix_of_nothing_is_nothing(edge: Edge) -> None:
    """An empty object has no last bytes, and that is all of it."""
    answer = edge.get(f"{PREFIX}/empty", Range="bytes=-5")
    assert (answer.status_code, answer.content) == (200, b"")


def test_if_range_guards_a_resumed_download(edge: Edge) -> None:
    """The range is honoured for the same version, and the whole sent for another."""
    etag = edge.get(f"{PREFIX}/data.bin").headers["etag"]
    same = edge.get(f"{PREFIX}/data.bin", **{"Range": "bytes=5-9", "If-Range": etag})
    other = edge.get(f"{PREFIX}/data.bin", **{"Range": "bytes=5-9", "If-Range": '"old"'})
    assert (same.status_code, same.content) == (206, DATA[5:10])
    assert (other.status_code, other.content) == (200, DATA)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_a_client_has_is_not_sent_again(edge: Edge, method: str) -> None:
    """304 with the ETag and no body, and no content type."""
    link = edge.link(f"{PREFIX}/zarr.json")
    etag = edge.client.get(link).headers["etag"]
    answer = edge.client.request(method, link, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert answer.headers["cache-control"] == "no-cache"


def test_cookies_open_a_prefix(edge: Edge) -> None:
    """Signed cookies are as good as a signed URL."""
    cookies = edge.signer.sign_cookies(PREFIX).cookies
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = edge.client.get(f"{edge.url}/{PREFIX}/zarr.json", headers={"Cookie": header})
    assert (answer.status_code, answer.content) == (200, b"{}")


def test_an_unsigned_request_lacks_its_key(edge: Edge) -> None:
    """403 with CloudFront's own body and server name, and no RequestId, for any path: also to see that it is up."""
    for path in ("/", f"/{PREFIX}/data.bin", "/healthz"):
        answer = edge.client.get(f"{edge.url}{path}")
        assert (answer.status_code, answer.text) == (403, MISSING_KEY)
        assert answer.headers["server"] == "CloudFront"
        assert answer.headers["content-type"].startswith("text/xml")


def test_an_unknown_key_is_refused(edge: Edge) -> None:
    """403 `InvalidKey`."""
    answer = edge.client.get(edge.link(f"{PREFIX}/data.bin").replace("KTEST", "KGONE"))
    assert (answer.status_code, code_of(answer)) == (403, "InvalidKey")
    assert "RequestId" not in answer.text


@pytest.mark.parametrize(
    "key", ["outputs/exec_10/data.bin", "outputs/exec_2/secret", "secret", "outputs/exec_1", "absent"]
)
def test_nothing_beside_the_prefix_is_served(edge: Edge, key: str) -> None:
    """403 whether there is such an object or not."""
    answer = edge.get(key)
    assert (answer.status_code, answer.text) == (403, DENIED)


def test_an_ended_url_is_refused(edge: Edge) -> None:
    """403, never 404: expired does not mean missing."""
    ended = CloudFrontSigner(edge.url, "KTEST", KEY, clock=lambda: time.time() - 3601)
    link = f"{edge.url}/{PREFIX}/data.bin?{ended.sign_prefix(PREFIX).url.partition('?')[2]}"
    answer = edge.client.get(link)
    assert (answer.status_code, answer.text) == (403, DENIED)


def test_the_peers_address_is_the_clients(edge: Edge) -> None:
    """A network condition looks at the connection and believes no forwarded header."""
    for ip, status in (("127.0.0.1", 200), ("192.0.2.1", 403)):
        query = edge.signer.sign_prefix(PREFIX, ip=ip).url.partition("?")[2]
        answer = edge.client.get(f"{edge.url}/{PREFIX}/zarr.json?{query}", headers={"X-Forwarded-For": "192.0.2.1"})
        assert answer.status_code == status


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "a b", "127.0.0.1:x"])
def test_a_request_for_another_host_is_refused(edge: Edge, host: str) -> None:
    """The Host header must be the public URL's."""
    status, body = edge.raw(f"/{PREFIX}/zarr.json?{edge.query()}", host=host or " ")
    assert (status, body.decode()) == (403, DENIED)


def test_a_doubled_host_is_refused(edge: Edge) -> None:
    """Two hosts are none."""
    status, _ = edge.raw(f"/{PREFIX}/zarr.json?{edge.query()}", extra="Host: evil.example\r\n")
    assert status in (400, 403)


def test_a_missing_object_is_the_origins_404(edge: Edge) -> None:
    """`NoSuchKey` with a RequestId, and not CloudFront as the server."""
    answer = edge.get(f"{PREFIX}/absent")
    assert (answer.status_code, code_of(answer)) == (404, "NoSuchKey")
    assert "<RequestId>" in answer.text
    assert "server" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [f"{PREFIX}/", f"{PREFIX}/.wildcast", f"{PREFIX}/.wildcast/", f"{PREFIX}/zarr.json/"])
def test_a_directory_is_no_object(edge: Edge, path: str) -> None:
    """A trailing slash, and a prefix without one, are 404."""
    status, body = edge.raw(f"/{path}?{edge.query()}")
    assert status == 404
    assert b"NoSuchKey" in body


@pytest.mark.parametrize(
    "path",
    [
        "../exec_2/secret",
        "./zarr.json",
        "%2e%2e/exec_2/secret",
        "%2E%2e/exec_2/secret",
        ".%2e/exec_2/secret",
        "%2e/zarr.json",
        "..%2fexec_2%2fsecret",
        "a%2Fb",
        "..%5Cexec_2",
        "a%5c..%5cb",
        "a\\b",
        "%00",
        "zarr.json%00.txt",
        "%0d%0aX-Injected:1",
        "%7f",
        "a//b",
        "/zarr.json",
        "%ff",
        "%c0%ae%c0%ae/exec_2",
        "%ed%a0%80",
        "%",
        "%4",
        "%zz",
        "%u002e",
        "a" * 1100,
    ],
)
def test_an_ambiguous_path_is_malformed(edge: Edge, path: str) -> None:
    """400 in XML, although the signature is good."""
    status, body = edge.raw(f"/{PREFIX}/{path}?{edge.query()}")
    assert status == 400
    assert b"<Code>InvalidURI</Code>" in body


def test_a_backslash_in_a_name_is_a_character(edge: Edge) -> None:
    """As in S3, where it climbs nowhere."""
    assert edge.raw(f"/{PREFIX}/a%5Cb?{edge.query()}")[0] == 404


def test_a_url_over_the_limit_is_refused(edge: Edge) -> None:
    """414 over 8,192 bytes, as CloudFront would not take it."""
    assert edge.raw(f"/{PREFIX}/zarr.json?{edge.query()}&pad={'x' * 8000}")[0] == 414


def test_only_reading_is_allowed(edge: Edge) -> None:
    """405 for everything else, signed or not, and the object stays."""
    for method in ("PUT", "POST", "DELETE", "PATCH", "TRACE"):
        answer = edge.client.request(method, edge.link(f"{PREFIX}/zarr.json"))
        assert (answer.status_code, code_of(answer)) == (405, "MethodNotAllowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert edge.get(f"{PREFIX}/zarr.json").content == b"{}"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NetworkError("no route"), 504),
        (StoreIoError("CANARY"), 502),
        (AccessDeniedError("CANARY"), 502),
        (NoSuchBucketError("CANARY"), 502),
        (StoreError("CANARY"), 502),
        (InvalidKeyError("CANARY"), 400),
    ],
)
def test_a_store_that_fails_is_never_missing_nor_refused(edge: Edge, error: StoreError, status: int) -> None:
    """5xx in XML without the store's words: a reader must not take it for a fill value or an ended URL."""
    edge.store.error = error
    answer = edge.get(f"{PREFIX}/data.bin")
    assert answer.status_code == status
    assert code_of(answer) not in ("", "NoSuchKey", "AccessDenied")
    assert "CANARY" not in answer.text


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("after", [0, 1, 5000])
def test_a_store_that_breaks_off_breaks_the_connection(edge: Edge, after: int, cut: bool) -> None:
    """Whether it raises or just ends, no client sees a short body as whole."""
    edge.store.break_after, edge.store.cut = after, cut
    with pytest.raises(httpx.RemoteProtocolError):
        edge.get(f"{PREFIX}/data.bin")


def test_a_client_that_leaves_ends_the_stream(edge: Edge) -> None:
    """The store's stream is closed, and the edge serves on."""
    edge.store.endless = True
    with edge.client.stream("GET", edge.link(f"{PREFIX}/data.bin")) as answer:
        next(answer.iter_raw())
        wait_until(lambda: edge.store.open_streams == 1)
    wait_until(lambda: edge.store.open_streams == 0)
    edge.store.endless = False
    assert edge.get(f"{PREFIX}/zarr.json").status_code == 200


@pytest.mark.parametrize(
    ("key", "headers", "status"),
    [
        ("data.bin", {}, 200),
        ("data.bin", {"Range": "bytes=0-1"}, 206),
        ("data.bin", {"Range": "bytes=99999-"}, 416),
        ("absent", {}, 404),
        ("a//b", {}, 400),
    ],
)
def test_every_answer_may_be_read_by_a_page(edge: Edge, key: str, headers: dict[str, str], status: int) -> None:
    """Errors too: a page must be able to tell 404 from 403."""
    link = f"{edge.url}/{PREFIX}/{key}?{edge.query()}"
    answer = edge.client.get(link, headers={"Origin": "https://page.example", **headers})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"Content-Range", "Content-Length", "ETag"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )
    assert "access-control-allow-credentials" not in answer.headers


def test_a_refusal_may_be_read_by_a_page(edge: Edge) -> None:
    """403 and 5xx as well."""
    page = {"Origin": "https://page.example"}
    assert edge.client.get(edge.url, headers=page).headers["access-control-allow-origin"] == "*"
    edge.store.error = NetworkError("gone")
    answer = edge.client.get(edge.link(f"{PREFIX}/data.bin"), headers=page)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (504, "*")


def test_times_are_told_in_utc(edge: Edge) -> None:
    """`Last-Modified` is when the object was written."""
    told = parsedate_to_datetime(edge.get(f"{PREFIX}/data.bin").headers["last-modified"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 3600
