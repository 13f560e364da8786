"""Signed URLs of a directory, whose signature does not cover the manifest above it: they bring one along, or warn."""

import json
import pickle
import warnings
from urllib.parse import unquote

import numpy as np
import pytest
import xarray as xr
import zarr
from starlette.responses import JSONResponse, Response

import wildcast
from wildcast.contract.naming import MANIFEST_PATH, quote_key
from wildcast.contract.policy import Policy, b64_encode, encode_policy, parse_signed_url, resource_matches

STORE = "d ü/a.zarr"
VALUES = np.arange(1, 5, dtype="i4")


@pytest.fixture
def signing(server, tmp_path):
    """A server that signs parts of a result with a store, and a CDN that holds each URL to what it was signed for."""
    cdn = server.cdn
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        encoding = {"x": {"chunks": (1,), "fill_value": 0}}
        xr.Dataset({"x": ("t", VALUES)}).to_zarr(tmp_path / STORE, zarr_format=3, encoding=encoding)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    cdn.publish(**{path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files}, other=b"1")

    async def handle(request, original=server.handle):
        if not request.url.path.endswith("/sign"):
            return await original(request)
        path = json.loads(await request.body())["path"]
        is_file = path in cdn.objects
        base = f"{cdn.base}/{quote_key(path)}{'' if is_file else '/*'}"
        policy = b64_encode(encode_policy(Policy(base, 4_000_000_000)))
        url = f"{base}?Policy={policy}&Signature={cdn.signature}&Key-Pair-Id=K1"
        return JSONResponse({"url": url, "expires_at": "2026-01-01T01:00:00Z"})

    def hold(path, request):
        granted = parse_signed_url(f"{cdn.base}?{request.url.query}").policy.resource
        return None if resource_matches(granted, f"{cdn.base}/{quote_key(path)}") else Response("no", 403)

    server.handle, cdn.fault = handle, hold
    return server


def read(url, path=""):
    return zarr.open_array(wildcast.create_cloudfront_mapper(url, f"{path}/x".lstrip("/")), mode="r")[:]


def test_a_directorys_url_reads_the_directory(signing):
    """Below it lies what lies in the directory, and what the manifest lists there."""
    url = signing.result().sign(STORE)
    fs = wildcast.SignedFileSystem(url)
    np.testing.assert_array_equal(read(url), VALUES)
    assert fs.ls("", detail=False) == ["x", "zarr.json"]
    assert set(fs.find("")) == {path.removeprefix(f"{STORE}/") for path in signing.cdn.objects if STORE in path}
    assert not fs.exists("other")
    assert signing.cdn.asked(MANIFEST_PATH) == 2
    np.testing.assert_array_equal(read(signing.result().sign("d ü"), "a.zarr"), VALUES)
    fs = pickle.loads(pickle.dumps(fs))  # noqa: S301 - our own bytes
    assert fs.ls("", detail=False) == ["x", "zarr.json"]


def test_a_file_that_is_lost_is_no_gap_in_a_directory(signing):
    """What the manifest lists and the store lacks is an error below a directory's URL, too."""
    url = signing.result().sign(STORE)
    del signing.cdn.objects[f"{STORE}/x/c/2"]
    with pytest.raises(wildcast.LostObjectError):
        read(url)


def test_a_file_that_is_stale_is_an_error_in_a_directory(signing):
    """Sizes and checksums of the manifest hold there as well."""
    url = signing.result().sign(STORE)
    signing.cdn.objects[f"{STORE}/x/c/2"] = signing.cdn.objects[f"{STORE}/x/c/1"]
    with pytest.raises(wildcast.StaleObjectError):
        read(url)


@pytest.mark.parametrize("code", [403, 404, 500])
def test_a_directory_whose_manifest_cannot_be_read_is_not_read(signing, code):
    """Refused, gone or out of order: nothing is taken for a gap then."""
    url, hold = signing.result().sign(STORE), signing.cdn.fault
    signing.cdn.fault = lambda path, request: Response("no", code) if path == MANIFEST_PATH else hold(path, request)
    with pytest.raises(wildcast.ReadError) as caught:
        wildcast.SignedFileSystem(url, retry=signing.cdn.retry).cat_file("x/c/1")
    assert not isinstance(caught.value, FileNotFoundError)


def test_a_directorys_url_is_of_use_to_other_tools(signing):
    """What stands before the mark is the URL that the API gave, with the star; a file's URL has no mark."""
    result = signing.result()
    url, mark, manifest = result.sign(STORE).partition("#manifest=")
    assert url.startswith(f"{signing.cdn.base}/{quote_key(STORE)}/*?Policy=")
    assert (mark, "*" in manifest) == ("#manifest=", False)
    assert unquote(manifest).startswith(f"{signing.cdn.base}/{MANIFEST_PATH}?Policy=")
    assert "#" not in result.sign("other")


def test_a_directorys_url_without_a_manifest_is_warned_of(signing):
    """As one that somebody has cut, or another tool has signed; the whole result's URL is not."""
    bare = signing.result().sign(STORE).partition("#")[0]
    with pytest.warns(wildcast.UnlistedWarning, match="a file that the store has lost") as caught:
        mapper = wildcast.create_cloudfront_mapper(bare, "x")
    assert signing.cdn.signature not in str(caught[0].message)
    np.testing.assert_array_equal(zarr.open_array(mapper, mode="r")[:], VALUES)
    wildcast.SignedFileSystem(signing.cdn.signed())
    wildcast.SignedFileSystem("https://cdn.example/by-hand/a.zarr/*?Signature=s")


def test_a_signature_of_the_whole_result_lists_its_directories(signing):
    """Whoever has put a directory's URL together out of it, as older scripts do, reads no gap for what is lost."""
    base = f"{signing.cdn.base}/*"
    policy = b64_encode(encode_policy(Policy(base, 4_000_000_000)))
    url = f"{signing.cdn.base}/{quote_key(STORE)}/*?Policy={policy}&Signature={signing.cdn.signature}&Key-Pair-Id=K1"
    np.testing.assert_array_equal(read(url), VALUES)
    del signing.cdn.objects[f"{STORE}/x/c/2"]
    with pytest.raises(wildcast.LostObjectError):
        read(url)


@pytest.mark.parametrize("key", ["x/c/2", "x/2", "x/0.10", "x/c"])
def test_a_gap_that_nothing_lists_is_warned_of(cdn, key):
    """As below a directory of what was published by hand; metadata, which are only looked for, are not gaps."""
    cdn.objects["zarr.json"] = b"{}"
    fs = cdn.fs()
    fs.cat_file("zarr.json")
    for other in (".zattrs", "x/zarr.json", "x/cc", "x/a1"):
        with pytest.raises(wildcast.MissingFileError):
            fs.cat_file(other)
    with pytest.warns(wildcast.UnlistedWarning, match="the store may have lost it") as caught:
        assert fs.cat([key, f"{key}/1"], on_error="omit") == {}
    assert len(caught) == 1
    assert cdn.signature not in str(caught[0].message)


@pytest.mark.parametrize(
    "manifest",
    [
        "https://cdn.example/exec_1_00000001/.wildcast/manifest.json.gz?Signature=s",
        "{base}-2/.wildcast/manifest.json.gz?Signature=s",
        "{base}/d%20%C3%BC/manifest.json.gz?Signature=s",
        "{base}?Signature=s",
        "nothing",
        "",
    ],
)
def test_a_manifest_of_something_else_is_refused(signing, manifest):
    """It would say of every file that it was never written; the sentence holds no signature."""
    bare = signing.result().sign(STORE).partition("#")[0]
    with pytest.raises(wildcast.InvalidUrlError) as caught:
        wildcast.SignedFileSystem(f"{bare}#manifest={quote_key(manifest.format(base=signing.cdn.base))}")
    assert signing.cdn.signature not in str(caught.value)
    with pytest.raises(wildcast.InvalidUrlError):
        wildcast.SignedFileSystem(f"{bare}#something")


def test_a_directory_of_a_server_that_signs_nothing_has_a_star(server):
    """Of Earth2Studio's, whose wildcard URL covers all."""
    server.cdn.publish(**{"a.zarr/zarr.json": b"{}"})
    result = server.result()
    server.override = lambda request: (
        JSONResponse({"detail": "Not Found"}, 404) if "/sign" in request.url.path else None
    )
    base, _, query = result.signed_url.partition("/*?")
    assert result.sign("a.zarr") == f"{base}/a.zarr/*?{query}"
