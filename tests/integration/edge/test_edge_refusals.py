"""The edge behind a real server: CloudFront's and the origin's errors, byte for byte where they are known."""

import time
import xml.etree.ElementTree as ET
from typing import Any

import httpx
import pytest

from wildcast_server.errors import (
    AccessDeniedError,
    InvalidKeyError,
    NetworkError,
    NoSuchBucketError,
    StoreError,
    StoreIoError,
)
from wildcast_server.signing.cloudfront import CloudFrontSigner

PREFIX = "outputs/exec_1"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
DENIED = f"{DECLARATION}<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"
MISSING_KEY = (
    f"{DECLARATION}<Error><Code>MissingKey</Code>"
    "<Message>Missing Key-Pair-Id query parameter or cookie value</Message></Error>"
)
Edge = Any  # of the conftest beside


def code_of(answer: httpx.Response) -> str:
    return ET.fromstring(answer.content).findtext("Code") or ""  # noqa: S314 - our own server's XML


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
    ended = CloudFrontSigner(edge.url, "KTEST", edge.signer._private_key, clock=lambda: time.time() - 3601)
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
