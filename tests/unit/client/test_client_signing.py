"""Asking the API for signatures and manifests."""

import gzip
import json

import pytest
from starlette.responses import JSONResponse, Response

import wildcast
from wildcast.contract.manifest import decode_manifest
from wildcast.contract.naming import MANIFEST_PATH

EXPIRES = "2026-01-01T01:00:00Z"


def test_what_is_asked_for_is_sent_and_nothing_else(server):
    """A path, a time and an address are part of the request only where they are given."""
    api = server.client._api
    bodies = []

    async def answer(request):
        bodies.append(json.loads(await request.body()))
        return JSONResponse({"url": "https://cdn/a/*?S=1", "expires_at": EXPIRES})

    server.handle = answer
    assert api.sign("wf", server.id).url == "https://cdn/a/*?S=1"
    api.sign("wf", server.id, path="a.zarr", expires_in=60, ip="192.0.2.1", kind="cookies")
    assert bodies == [{"kind": "url"}, {"path": "a.zarr", "expires_in": 60, "ip": "192.0.2.1", "kind": "cookies"}]


def test_cookies_are_for_a_domain_and_path_and_are_not_shown(server):
    """What a browser needs comes typed, and its repr keeps the secret."""
    answer = {"cookies": {"CloudFront-Signature": "canary"}, "domain": "cdn", "path": "/a", "expires_at": EXPIRES}
    server.override = lambda _: JSONResponse(answer)
    signed = server.client._api.sign("wf", server.id, kind="cookies")
    assert (signed.cookies, signed.domain, signed.path) == ({"CloudFront-Signature": "canary"}, "cdn", "/a")
    assert "canary" not in repr(signed)


@pytest.mark.parametrize("is_gzipped", [True, False], ids=["gzip", "plain"])
def test_a_manifest_comes_as_it_lies_in_the_store(server, cdn, is_gzipped):
    """Whether the server compresses it or not, it can be decoded."""
    cdn.publish(**{"a.bin": b"abc"})
    body = cdn.objects[MANIFEST_PATH]
    headers = {"Content-Encoding": "gzip"} if is_gzipped else {}
    server.override = lambda _: Response(body if is_gzipped else gzip.decompress(body), headers=headers)
    data = server.client._api.manifest("wf", server.id)
    assert data == gzip.decompress(body)  # not packed again, which takes longest for large ones
    rows = decode_manifest(data).rows
    assert [(row.path, row.size) for row in rows] == [("a.bin", 3)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (JSONResponse({"message": "not yet", "status": "running"}, 202), wildcast.ResultsPendingError),
        (JSONResponse({"error": "none"}, 404), wildcast.UnknownExecutionError),
    ],
)
def test_a_manifest_that_there_is_not_is_an_error(server, answer, kind):
    """Neither a running execution nor an unknown one has a manifest."""
    server.override = lambda _: answer
    with pytest.raises(kind):
        server.client._api.manifest("wf", server.id)
