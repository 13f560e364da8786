"""The edge behind a real server: objects, ranges, conditions, and streams that end early."""

import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

PREFIX = "outputs/exec_1"
DATA = bytes(range(256)) * 40
Edge = Any  # of the conftest beside


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


def test_times_are_told_in_utc(edge: Edge) -> None:
    """`Last-Modified` is when the object was written."""
    told = parsedate_to_datetime(edge.get(f"{PREFIX}/data.bin").headers["last-modified"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 3600


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
        chunks = answer.iter_raw()
        next(chunks)
        wait_until(lambda: edge.store.open_streams == 1)
    wait_until(lambda: edge.store.open_streams == 0)
    edge.store.endless = False
    assert edge.get(f"{PREFIX}/zarr.json").status_code == 200
