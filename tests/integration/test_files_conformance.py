"""Files over raw sockets, from the API and from the edge: RFC 9110's rules as a table, and what becomes of streams."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api import errors
from wildcast_server.api.files import file_routes
from wildcast_server.domain.execution import Execution
from wildcast_server.edge.app import create_edge
from wildcast_server.publish import Published, publish_in_place
from wildcast_server.records import MemoryRecords
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.signing.keys import generate_private_key
from wildcast_server.signing.verify import Verifier
from wildcast_server.store import open_store
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.wiring.serving import ServerThread, bind, url_of

ID = "exec_1_00000001"
DATA = b"0123456789" * 10
SIZE = len(DATA)
LARGE = 4 << 30
KEY = generate_private_key()
MODIFIED = 1_764_000_000
SAME, EARLIER, LATER = (
    time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(MODIFIED + seconds)) for seconds in (0, -1, 1)
)

Headers = list[str]


@dataclass(frozen=True)
class Answer:
    """What came back, as far as it came."""

    status: int
    headers: Message
    body: bytes

    @property
    def is_whole(self) -> bool:
        """Whether all came that was announced."""
        return len(self.body) == int(self.headers["content-length"])


@dataclass(frozen=True)
class Face:
    """One of the servers that send files."""

    url: str
    target: Callable[[str], str]
    directory: Path

    @contextmanager
    def connect(self, name: str, headers: Headers, method: str = "GET") -> Iterator[socket.socket]:
        address = urlsplit(self.url)
        lines = [f"{method} {self.target(name)} HTTP/1.1", f"Host: {address.netloc}", "Connection: close", *headers]
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            yield connection

    def ask(self, name: str, *headers: str, method: str = "GET") -> Answer:
        with self.connect(name, list(headers), method) as connection:
            received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        return Answer(int(first.split()[1]), message_from_bytes(rest), body)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory."""
    directory = tmp_path_factory.mktemp("outputs") / ID
    directory.mkdir()
    (directory / "data.bin").write_bytes(DATA)
    (directory / "empty").touch()
    os.utime(directory / "data.bin", (MODIFIED, MODIFIED))
    for name in ("sparse", "shrinks", "left", "slow"):
        (directory / name).touch()
    return directory


@pytest.fixture(scope="module")
def published(output: Path) -> Published:
    """What is published there; sparse files grow afterwards, for nobody reads gigabytes to publish them."""
    return publish_in_place(output, ID)


@pytest.fixture(scope="module")
def api(output: Path, published: Published) -> Iterator[Face]:
    """The API's route of files."""
    records = MemoryRecords()
    records.insert(Execution(id=ID, workflow_name="flow", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(ID, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    record = as_record(published, 1)
    records.change(ID, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, published=record)
    app = FastAPI()
    errors.install(app)
    results = Results(Lookup(records), {"server": open_store(output.parent.as_uri())}, None)
    app.include_router(file_routes(results), prefix="/v1/infer")
    bound = bind("127.0.0.1", 0, "api")
    with ServerThread("API", app, bound):
        yield Face(url_of(bound), lambda name: f"/v1/infer/flow/{ID}/results/{name}", output)


@pytest.fixture(scope="module")
def edge(output: Path, published: Published) -> Iterator[Face]:  # noqa: ARG001 - before anything grows
    """The edge over the same directory."""
    bound = bind("127.0.0.1", 0, "edge")
    url = url_of(bound)
    query = CloudFrontSigner(url, "KTEST", KEY).sign_prefix(ID).url.partition("?")[2]
    app = create_edge(open_store(output.parent.as_uri()), Verifier({"KTEST": KEY.public_key()}), public_url=url)
    with ServerThread("edge", app, bound):
        yield Face(url, lambda name: f"/{ID}/{name}?{query}", output)


@pytest.fixture(params=["api", "edge"])
def face(request: pytest.FixtureRequest) -> Face:
    """Each of the two."""
    found: Face = request.getfixturevalue(request.param)
    for name in ("sparse", "shrinks", "left", "slow"):
        with (found.directory / name).open("wb") as file:
            file.truncate(LARGE)
    return found


def part(headers: Headers, status: int, start: int, stop: int) -> tuple[Headers, int, bytes, str | None]:
    return headers, status, DATA[start:stop], f"bytes {start}-{stop - 1}/{SIZE}"


def whole(*headers: str) -> tuple[Headers, int, bytes, str | None]:
    return list(headers), 200, DATA, None


def refused(*headers: str) -> tuple[Headers, int, bytes | None, str | None]:
    return list(headers), 416, None, f"bytes */{SIZE}"


def without_body(status: int, *headers: str) -> tuple[Headers, int, bytes | None, str | None]:
    return list(headers), status, b"" if status == 304 else None, None


CASES = [
    # Single ranges (§14.1.2): both ends inclusive, an end behind the file is clamped.
    part(["Range: bytes=0-0"], 206, 0, 1),
    part(["Range: bytes=10-19"], 206, 10, 20),
    part(["Range: bytes=90-"], 206, 90, 100),
    part(["Range: bytes=0-"], 206, 0, 100),
    part(["Range: bytes=0-99"], 206, 0, 100),
    part(["Range: bytes=99-99"], 206, 99, 100),
    part(["Range: bytes=90-100"], 206, 90, 100),
    part([f"Range: bytes=90-{10**30}"], 206, 90, 100),
    part(["Range: bytes=-1"], 206, 99, 100),
    part(["Range: bytes=-100"], 206, 0, 100),
    part(["Range: bytes=-101"], 206, 0, 100),
    part([f"Range: bytes=-{10**30}"], 206, 0, 100),
    part(["range:bytes=5-9"], 206, 5, 10),
    part(["Range: BYTES=5-9"], 206, 5, 10),
    part(["Range: bytes= 5-9 "], 206, 5, 10),
    part(["Range: bytes=005-0009"], 206, 5, 10),
    part(["Range: bytes=5-9,"], 206, 5, 10),
    # Not satisfiable (§15.5.17).
    refused("Range: bytes=100-"),
    refused("Range: bytes=100-200"),
    refused(f"Range: bytes={10**30}-"),
    refused("Range: bytes=-0"),
    # Junk, other units, and what is no range at all are ignored (§14.2).
    whole("Range: bytes=9-5"),
    whole("Range: bytes=a-b"),
    whole("Range: bytes=-"),
    whole("Range: bytes="),
    whole("Range: bytes"),
    whole("Range: bytes=1-2-3"),
    whole("Range: bytes=--5"),
    whole("Range: bytes=0x1-5"),
    whole("Range: bytes=1.5-3"),
    whole("Range: items=0-5"),
    whole("Range: junk"),
    whole("Range:"),
    # If-Range (§13.1.5): exactly this version, or the whole file.
    part(["Range: bytes=5-9", "If-Range: ETAG"], 206, 5, 10),
    part(["Range: bytes=5-9", f"If-Range: {SAME}"], 206, 5, 10),
    whole("Range: bytes=5-9", 'If-Range: "other"'),
    whole("Range: bytes=5-9", "If-Range: W/ETAG"),
    whole("Range: bytes=5-9", f"If-Range: {LATER}"),
    whole("Range: bytes=5-9", f"If-Range: {EARLIER}"),
    whole("Range: bytes=5-9", "If-Range: junk"),
    whole("Range: bytes=500-", 'If-Range: "other"'),
    whole("If-Range: ETAG"),
    # If-None-Match (§13.1.2) and If-Modified-Since (§13.1.3).
    without_body(304, "If-None-Match: ETAG"),
    without_body(304, "If-None-Match: W/ETAG"),
    without_body(304, 'If-None-Match: "x", ETAG'),
    without_body(304, 'If-None-Match: "x"', "If-None-Match: ETAG"),
    without_body(304, "If-None-Match: *"),
    without_body(304, "If-None-Match: ETAG", f"If-Modified-Since: {EARLIER}"),
    without_body(304, "If-None-Match: ETAG", "Range: bytes=5-9"),
    whole('If-None-Match: "x"'),
    whole('If-None-Match: "x"', f"If-Modified-Since: {LATER}"),
    without_body(304, f"If-Modified-Since: {SAME}"),
    without_body(304, f"If-Modified-Since: {LATER}"),
    whole(f"If-Modified-Since: {EARLIER}"),
    whole("If-Modified-Since: junk"),
    # If-Match (§13.1.1) and If-Unmodified-Since (§13.1.4).
    whole("If-Match: ETAG"),
    whole('If-Match: "x", ETAG'),
    whole("If-Match: *"),
    without_body(412, 'If-Match: "x"'),
    without_body(412, "If-Match: W/ETAG"),
    without_body(412, 'If-Match: "x"', "If-None-Match: ETAG"),
    without_body(304, "If-Match: ETAG", "If-None-Match: ETAG"),
    part(["If-Match: ETAG", "Range: bytes=5-9"], 206, 5, 10),
    without_body(412, 'If-Match: "x"', "Range: bytes=5-9"),
    # Conditions come before the range (§13.2.2).
    without_body(412, 'If-Match: "x"', "Range: bytes=500-"),
    without_body(412, 'If-Match: "x"', "Range: bytes=-0"),
    without_body(304, "If-None-Match: ETAG", "Range: bytes=500-"),
    refused("If-Match: ETAG", "Range: bytes=500-"),
    refused("If-Range: ETAG", "Range: bytes=500-"),
    whole(f"If-Unmodified-Since: {SAME}"),
    whole(f"If-Unmodified-Since: {LATER}"),
    whole("If-Unmodified-Since: junk"),
    without_body(412, f"If-Unmodified-Since: {EARLIER}"),
    whole("If-Match: ETAG", f"If-Unmodified-Since: {EARLIER}"),
]


@pytest.mark.parametrize(("headers", "status", "body", "content_range"), CASES, ids=lambda value: str(value)[:60])
def test_conformance(face: Face, headers: Headers, status: int, body: bytes | None, content_range: str | None) -> None:
    """Status, bytes and Content-Range of one request; ``ETAG`` stands for the file's own."""
    etag = face.ask("data.bin", method="HEAD").headers["etag"]
    answer = face.ask("data.bin", *(line.replace("ETAG", etag) for line in headers))
    assert (answer.status, answer.headers["content-range"]) == (status, content_range)
    if body is not None:
        assert answer.body == body
    if status == 304:
        assert answer.headers["etag"] == etag
    else:
        assert answer.is_whole


@pytest.mark.parametrize("headers", [[], ["Range: bytes=0-1"], ["Range: bytes=500-"], ["If-Range: junk"]], ids=str)
def test_head(face: Face, headers: Headers) -> None:
    """The headers of a whole GET and no byte after them: a range means nothing to HEAD (§14.2)."""
    got, head = face.ask("data.bin"), face.ask("data.bin", *headers, method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(SIZE))
    for name in ("etag", "last-modified", "accept-ranges", "content-type", "cache-control", "content-disposition"):
        assert head.headers[name] == got.headers[name]
    assert (head.headers["last-modified"], head.headers["accept-ranges"]) == (SAME, "bytes")


SEVERAL = [
    ("bytes=0-4,90-94", [(0, 5), (90, 95)]),
    ("bytes=90-94,0-4", [(90, 95), (0, 5)]),
    ("bytes=0-0, -1 ,50-50", [(0, 1), (99, 100), (50, 51)]),
    ("bytes=0-9,5-14,90-", [(0, 15), (90, 100)]),
    ("bytes=0-0,2-2,200-300", [(0, 1), (2, 3)]),
    (
        "bytes=" + ",".join(f"{place}-{place}" for place in range(0, 100, 2)),
        [(place, place + 1) for place in range(0, 100, 2)],
    ),
]


@pytest.mark.parametrize(("ranges", "expected"), SEVERAL, ids=range(len(SEVERAL)))
def test_several_ranges_are_a_multipart_body(api: Face, ranges: str, expected: list[tuple[int, int]]) -> None:
    """Read by a parser that is not ours: each part's type, place and bytes (§14.6)."""
    answer = api.ask("data.bin", f"Range: {ranges}")
    assert (answer.status, answer.headers["content-range"]) == (206, None)
    assert answer.is_whole
    parsed = message_from_bytes(f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode() + answer.body)
    assert parsed.get_content_type() == "multipart/byteranges"
    parts = parsed.get_payload()
    assert isinstance(parts, list)
    assert [each["content-range"] for each in parts] == [f"bytes {start}-{stop - 1}/{SIZE}" for start, stop in expected]
    assert [each.get_payload().encode() for each in parts] == [DATA[start:stop] for start, stop in expected]
    assert {each.get_content_type() for each in parts} == {"application/octet-stream"}
    assert not parsed.defects


@pytest.mark.parametrize(
    ("ranges", "status", "content_range"),
    [
        ("bytes=0-49,50-99", 206, "bytes 0-99/100"),
        ("bytes=5-9,5-9,5-9", 206, "bytes 5-9/100"),
        ("bytes=5-9,200-300", 206, "bytes 5-9/100"),
        ("bytes=200-,300-", 416, "bytes */100"),
        ("bytes=0-1,junk", 200, None),
        ("bytes=" + ",".join(["0-"] * 101), 200, None),
        ("bytes=" + ",".join(["0-"] * 100), 206, "bytes 0-99/100"),
    ],
)
def test_several_ranges_that_are_one_or_none(api: Face, ranges: str, status: int, content_range: str | None) -> None:
    """Merged to one they are answered as one; nobody gets more bytes than the file has."""
    answer = api.ask("data.bin", f"Range: {ranges}")
    assert (answer.status, answer.headers["content-range"]) == (status, content_range)
    assert len(answer.body) <= SIZE or status == 416


def bytes_read() -> int:
    """Return what this process, servers included, has asked the system to read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def is_open(path: Path) -> bool:
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink() == path:
                return True
        except FileNotFoundError:  # closed meanwhile
            continue
    return False


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.mark.parametrize("header", ["bytes=0-99", f"bytes={LARGE - 100}-", "bytes=-100"])
def test_a_range_of_a_large_file_costs_as_much_at_its_end(face: Face, header: str) -> None:
    """A hundred bytes of four gigabytes, without reading what lies before them."""
    before = bytes_read()
    answer = face.ask("sparse", f"Range: {header}")
    assert (answer.status, answer.body) == (206, bytes(100))
    # Threads that start, and requests, read a little too.
    assert bytes_read() - before < 1 << 20


def test_a_client_that_leaves_closes_the_file(face: Face) -> None:
    """While the server waits for it to read on; no thread and no descriptor stay."""
    with face.connect("left", []) as connection:
        connection.recv(1)
        wait_until(lambda: is_open(face.directory / "left"))
    wait_until(lambda: not is_open(face.directory / "left"))
    assert face.ask("data.bin").body == DATA


def test_a_slow_client_does_not_fill_the_memory(face: Face) -> None:
    """The server reads no further ahead than sockets take and a few blocks, however long the client waits."""
    before = bytes_read()
    with face.connect("slow", []) as connection:
        connection.recv(1)
        last, steady = -1, 0
        while steady < 50:
            time.sleep(0.005)
            steady = steady + 1 if bytes_read() // (1 << 20) == last else 0
            last = bytes_read() // (1 << 20)
    # Both sockets' buffers are at most ten megabytes, by Linux's defaults.
    assert bytes_read() - before < 32 << 20


def test_a_file_that_shrinks_breaks_the_connection(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """The client sees that the body is short; the server serves on."""
    with face.connect("shrinks", []) as connection:
        received = len(connection.recv(1 << 16))
        (face.directory / "shrinks").write_bytes(b"short")
        while more := len(connection.recv(1 << 20)):
            received += more
    assert received < LARGE
    assert "became shorter while it was read" in caplog.text
    wait_until(lambda: not is_open(face.directory / "shrinks"))
    assert face.ask("data.bin").body == DATA
