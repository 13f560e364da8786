"""The edge's application without a server around it: whom it takes itself to be, and which pages may read."""

import asyncio
from pathlib import Path

import httpx
import pytest

from wildcast_server.edge.app import create_edge
from wildcast_server.errors import SettingsError
from wildcast_server.signing.cloudfront import CloudFrontSigner
from wildcast_server.signing.keys import generate_private_key
from wildcast_server.signing.verify import Verifier
from wildcast_server.store import ObjectRange, ObjectStream
from wildcast_server.store.opening import open_store

PREFIX = "outputs/exec_1"
KEY = generate_private_key()


def in_process(public_url: str, origins: tuple[str, ...] = ("*",)) -> tuple[httpx.AsyncClient, CloudFrontSigner]:
    store = open_store("memory://")
    store.put(f"{PREFIX}/zarr.json", b"{}")
    app = create_edge(store, Verifier({"KTEST": KEY.public_key()}), public_url=public_url, cors_origins=origins)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
    return client, CloudFrontSigner(public_url, "KTEST", KEY)


@pytest.mark.parametrize(
    ("public_url", "host", "status"),
    [
        ("https://cdn.example", "cdn.example", 200),
        ("https://cdn.example", "CDN.example:443", 200),
        ("https://cdn.example:443/", "cdn.example", 200),
        ("https://cdn.example", "cdn.example:80", 403),
        ("http://cdn.example", "cdn.example:80", 200),
        ("http://cdn.example:80", "cdn.example", 200),
        ("http://cdn.example:8001", "cdn.example", 403),
        ("http://[::1]:8001", "[::1]:8001", 200),
    ],
)
def test_a_schemes_own_port_goes_without_saying(public_url: str, host: str, status: int) -> None:
    """The Host header may name it or not."""

    async def ask() -> int:
        client, signer = in_process(public_url)
        link = f"http://any/{PREFIX}/zarr.json?{signer.sign_prefix(PREFIX).url.partition('?')[2]}"
        async with client:
            return (await client.get(link, headers={"Host": host})).status_code

    assert asyncio.run(ask()) == status


def test_named_origins_alone_may_read() -> None:
    """With a list of origins, another page is not told that it may."""

    async def ask(origin: str) -> str | None:
        client, _ = in_process("https://cdn.example", ("https://page.example",))
        async with client:
            answer = await client.get("https://cdn.example/", headers={"Origin": origin})
        return answer.headers.get("access-control-allow-origin")

    assert asyncio.run(ask("https://page.example")) == "https://page.example"
    assert asyncio.run(ask("https://evil.example")) is None


@pytest.mark.parametrize("public_url", ["", "cdn.example", "https://cdn.example/path", "ftp://cdn.example"])
def test_a_public_url_is_scheme_and_host(public_url: str) -> None:
    """Anything else stops the start with one sentence."""
    with pytest.raises(SettingsError):
        in_process(public_url)


def test_a_file_store_is_served_too(tmp_path: Path) -> None:
    """Objects on disk: whole, in part, missing, and a directory."""
    store = open_store(tmp_path.as_uri())
    store.put("p/dir/a.json", b"0123456789")
    app = create_edge(store, Verifier({"KTEST": KEY.public_key()}), public_url="https://cdn.example")
    query = CloudFrontSigner("cdn.example", "KTEST", KEY).sign_prefix("p").url.partition("?")[2]

    async def ask(key: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
            return await client.get(f"https://cdn.example/{key}?{query}", headers=headers)

    whole, part = asyncio.run(ask("p/dir/a.json")), asyncio.run(ask("p/dir/a.json", Range="bytes=-3"))
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["content-type"] == "application/json"
    assert whole.headers["etag"].startswith('"')
    assert (part.status_code, part.content) == (206, b"789")
    assert asyncio.run(ask("p/absent")).status_code == 404
    assert asyncio.run(ask("p/dir")).status_code == 404
    assert asyncio.run(ask("p/dir/a.json/b")).status_code == 404


def test_a_range_is_of_the_version_that_if_range_names(tmp_path: Path) -> None:
    """Also where the object is replaced in the moment in which it is asked for."""
    store = open_store(tmp_path.as_uri())
    store.put("p/a", b"old version")
    etag = store.head("p/a").etag
    assert etag is not None

    class Replaced(type(store)):  # type: ignore[misc]
        async def stream(self, key: str, byte_range: ObjectRange | None = None) -> ObjectStream:
            await asyncio.to_thread(self.put, "p/a", b"new version")
            return await super().stream(key, byte_range)

    store.__class__ = Replaced
    app = create_edge(store, Verifier({"KTEST": KEY.public_key()}), public_url="https://cdn.example")
    query = CloudFrontSigner("cdn.example", "KTEST", KEY).sign_prefix("p").url.partition("?")[2]

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
            return await client.get(
                f"https://cdn.example/p/a?{query}", headers={"Range": "bytes=0-2", "If-Range": etag}
            )

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.content) == (200, b"new version")


def options(headers: dict[str, str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        client, _ = in_process("https://cdn.example")
        async with client:
            return await client.options(f"https://cdn.example/{PREFIX}/zarr.json", headers=headers)

    return asyncio.run(ask())


def test_a_page_may_ask_for_ranges() -> None:
    """The preflight needs no signature, allows Range, and never credentials."""
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    answer = options(headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Range" in answer.headers["access-control-allow-headers"]
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


def test_a_page_may_not_write() -> None:
    """The preflight of another method fails."""
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "PUT"}
    assert options(headers).status_code == 400


def test_options_alone_says_what_is_allowed() -> None:
    """Without a preflight's headers it is an empty answer."""
    answer = options({})
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
