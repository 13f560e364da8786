"""S3 and CloudFront, as results use them.

Against AWS itself when the variables of "Testing against AWS" in docs/object-storage.md are set; otherwise the same
tests run against moto's S3 and our own edge.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import httpx
import numpy as np
import pytest
import xarray as xr

import wildcast
from wildcast_server.settings import Settings, load_settings
from wildcast_server.wiring.publishing import build_publisher, build_store, configured_signer
from wildcast_server.wiring.stack import EdgeAlone

REAL_BUCKET = os.environ.get("TEST_S3_BUCKET")
CLOUDFRONT = {
    "object_storage.cloudfront_domain": os.environ.get("TEST_CLOUDFRONT_DOMAIN"),
    "object_storage.cloudfront_key_pair_id": os.environ.get("TEST_CLOUDFRONT_KEY_PAIR_ID"),
    "object_storage.cloudfront_private_key_path": os.environ.get("TEST_CLOUDFRONT_PRIVATE_KEY_PATH"),
}
REAL_CLOUDFRONT = REAL_BUCKET is not None and all(CLOUDFRONT.values())

MIB = 1 << 20


@pytest.fixture
def endpoint(request) -> str | None:
    """The address of moto; None for AWS itself."""
    return None if REAL_BUCKET else request.getfixturevalue("s3_endpoint")


@pytest.fixture
def settings(request, tmp_path, endpoint) -> Settings:
    """Settings for a prefix that nobody else uses, in parts of 5 MiB."""
    values = {
        "data_dir": tmp_path / "data",
        "edge.port": 0,
        "object_storage.enabled": True,
        "object_storage.bucket": REAL_BUCKET or request.getfixturevalue("bucket"),
        "object_storage.region": os.environ.get("AWS_REGION", "us-east-1"),
        "object_storage.prefix": f"wildcast-tests/{secrets.token_hex(6)}",
        "object_storage.endpoint_url": endpoint,
        "object_storage.multipart_chunksize": 5 * MIB,
        "object_storage.use_transfer_acceleration": False,
        **(CLOUDFRONT if REAL_CLOUDFRONT else {}),
    }
    return load_settings(values, environ={}, cwd=tmp_path).settings


@pytest.fixture
def s3(endpoint):
    """boto3's client: somebody else's eyes on the bucket."""
    with ExitStack() as closing:
        client = boto3.client("s3", endpoint_url=endpoint, region_name=os.environ.get("AWS_REGION", "us-east-1"))
        closing.callback(client.close)
        yield client


@pytest.fixture
def store(settings):
    """The store; what a test has put below its prefix is removed at the end."""
    opened = build_store(settings)
    yield opened
    opened.delete_prefix(settings.object_storage.prefix)


@pytest.fixture
def directory(tmp_path) -> Path:
    """A zarr store, a file of several parts, an empty file, a dotfile, and names that URLs do not like."""
    made = tmp_path / "output"
    values = np.random.default_rng(7).normal(size=(4, 50, 60)).astype("f4")
    encoding = {"t2m": {"chunks": (1, 50, 60)}}
    xr.Dataset({"t2m": (("time", "lat", "lon"), values)}).to_zarr(
        made / "results.zarr", consolidated=False, encoding=encoding
    )
    (made / "large.bin").write_bytes(secrets.token_bytes(12 * MIB + 345))
    (made / "empty").touch()
    (made / ".hidden").write_text("hidden")
    (made / "a b#c?d+e%20é.txt").write_text("odd")
    return made


@pytest.fixture
def published(settings, store, directory):
    """The directory, published."""
    return build_publisher(settings, store).publish(directory, "exec_1")


class TestS3Upload:
    """What publishing leaves in the bucket."""

    def test_every_file_is_there_byte_for_byte(self, settings, s3, directory, published):
        """Read back by another client, each object is its file, however many parts it took."""
        for path in (path for path in directory.rglob("*") if path.is_file()):
            key = f"{published.publication.prefix}/{path.relative_to(directory)}"
            body = s3.get_object(Bucket=settings.object_storage.s3_bucket, Key=key)["Body"].read()
            assert hashlib.sha256(body).digest() == hashlib.sha256(path.read_bytes()).digest(), key

    def test_large_files_go_up_in_parts_and_small_ones_do_not(self, settings, s3, published):
        """The ETag tells: a multipart upload's ends with the number of its parts."""

        def etag(path: str) -> str:
            key = f"{published.publication.prefix}/{path}"
            return s3.head_object(Bucket=settings.object_storage.s3_bucket, Key=key)["ETag"]

        assert etag("large.bin").endswith('-3"')
        assert "-" not in etag(".hidden")

    def test_no_multipart_upload_is_left_open(self, settings, s3, published):
        """Nothing that S3 would bill for is left behind."""
        prefix = published.publication.prefix
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=settings.object_storage.s3_bucket, Prefix=prefix)

    @pytest.mark.parametrize(
        ("path", "content_type", "cache"),
        [
            ("results.zarr/zarr.json", "application/json", "no-cache"),
            ("large.bin", "application/octet-stream", "immutable"),
            (".wildcast/manifest.json.gz", "application/gzip", "no-cache"),
        ],
    )
    def test_objects_have_content_type_and_cache_rule(self, settings, s3, published, path, content_type, cache):
        """Data may be kept for ever, what describes it is asked for anew."""
        key = f"{published.publication.prefix}/{path}"
        head = s3.head_object(Bucket=settings.object_storage.s3_bucket, Key=key)
        assert head["ContentType"] == content_type
        assert cache in head["CacheControl"]

    def test_the_manifest_agrees_with_the_bucket(self, settings, s3, published):
        """Keys, sizes and ETags of the rows are those of a listing."""
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=settings.object_storage.s3_bucket, Prefix=published.publication.prefix
        )
        listed = {item["Key"]: (item["Size"], item["ETag"]) for page in pages for item in page["Contents"]}
        assert listed.pop(published.publication.manifest)
        rows = {f"{published.publication.prefix}/{row.path}": (row.size, row.etag) for row in published.manifest.rows}
        assert rows == listed

    def test_publishing_again_changes_nothing(self, settings, s3, store, directory, published):
        """The same directory is the same publication: no object is written a second time."""

        def modified() -> dict[str, object]:
            found = s3.list_objects_v2(Bucket=settings.object_storage.s3_bucket, Prefix=settings.object_storage.prefix)
            return {item["Key"]: item["LastModified"] for item in found["Contents"]}

        before = modified()
        again = build_publisher(settings, store).publish(directory, "exec_1")
        assert again.publication == published.publication
        assert modified() == before


@pytest.fixture
def cdn(settings) -> Iterator[Settings]:
    """Settings whose signed URLs are served: by CloudFront, or by our edge over the same bucket."""
    if REAL_CLOUDFRONT:
        yield settings
        return
    with EdgeAlone(settings) as edge:
        yield settings.model_copy(update={"edge": settings.edge.model_copy(update={"public_url": edge.edge_url})})


@pytest.fixture
def signer(cdn):
    """The signer of those URLs."""
    return configured_signer(cdn)


@pytest.fixture
def link(signer, published) -> str:
    """The wildcard URL of the publication."""
    return signer.sign_prefix(published.publication.prefix).url


def file_url(link: str, path: str) -> str:
    base, _, query = link.partition("/*?")
    return f"{base}/{path}?{query}"


class TestCloudFrontSignedUrl:
    """What the wildcard URL opens, and what it does not."""

    def test_it_opens_every_file(self, link, directory):
        """One URL, with the path put in place of the star."""
        assert httpx.get(file_url(link, "large.bin")).content == (directory / "large.bin").read_bytes()
        assert httpx.get(file_url(link, "empty")).content == b""

    def test_it_answers_ranges(self, link, directory):
        """First, middle and last bytes, as zarr's shards and netCDF need them."""
        data = (directory / "large.bin").read_bytes()
        for asked, expected in [("0-9", data[:10]), ("6000000-6000009", data[6000000:6000010]), ("-10", data[-10:])]:
            answer = httpx.get(file_url(link, "large.bin"), headers={"Range": f"bytes={asked}"})
            assert (answer.status_code, answer.content) == (206, expected)

    def test_zarr_opens_through_the_mapper(self, link, directory):
        """Through the URL, xarray reads what it would read from the disk."""
        mapper = wildcast.create_cloudfront_mapper(link, "results.zarr")
        with xr.open_zarr(mapper, consolidated=True) as remote, xr.open_zarr(directory / "results.zarr") as local:
            xr.testing.assert_identical(remote.load(), local.load())

    def test_odd_names_are_readable(self, link):
        """Spaces and URL punctuation in a name arrive as that name."""
        mapper = wildcast.create_cloudfront_mapper(link)
        assert mapper["a b#c?d+e%20é.txt"] == b"odd"

    def test_it_does_not_open_a_sibling(self, signer, published):
        """What is signed for exec_1 does not open exec_10."""
        url = signer.sign_prefix(published.publication.prefix).url
        assert httpx.get(file_url(url, "empty").replace("/exec_1/", "/exec_10/")).status_code == 403

    def test_a_changed_signature_opens_nothing(self, link):
        """One character is enough."""
        head, _, signature = link.partition("Signature=")
        changed = ("A" if signature[0] != "A" else "B") + signature[1:]
        assert httpx.get(file_url(f"{head}Signature={changed}", "empty")).status_code == 403

    def test_without_a_signature_nothing_opens(self, link):
        """The bucket is private."""
        answer = httpx.get(file_url(link, "empty").partition("?")[0])
        assert answer.status_code == 403
        assert "MissingKey" in answer.text

    def test_an_expired_url_raises_and_is_never_a_fill_value(self, signer, published):
        """The peer's worst fault: there, an expired URL reads as missing chunks."""
        link = signer.sign_prefix(published.publication.prefix, expires_in=3).url
        mapper = wildcast.create_cloudfront_mapper(link, "results.zarr")
        with xr.open_zarr(mapper, consolidated=True) as remote:
            time.sleep(4)
            with pytest.raises(PermissionError):
                remote["t2m"].load()

    def test_a_missing_object_is_404(self, link):
        """The distribution may list the bucket, so missing and refused differ."""
        assert httpx.get(file_url(link, "no/such/chunk")).status_code == 404

    def test_signed_cookies_open_the_prefix(self, signer, published):
        """Plain tools read with a Cookie header and unsigned URLs."""
        granted = signer.sign_cookies(published.publication.prefix)
        url = file_url(signer.sign_prefix(published.publication.prefix).url, ".hidden").partition("?")[0]
        cookie = "; ".join(f"{name}={value}" for name, value in granted.cookies.items())
        assert httpx.get(url, headers={"Cookie": cookie}).text == "hidden"
