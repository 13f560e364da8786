"""URIs and options: what opens which store, and what is sent."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import boto3
import pytest

from wildcast_server.errors import InvalidUriError, SettingsError
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.store._http import client_options, retry_config
from wildcast_server.store._s3 import S3Store, open_s3
from wildcast_server.store._s3_boto import make_client
from wildcast_server.store._s3_site import service_endpoint


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("memory://", "memory://"),
        ("memory://base/", "memory://base"),
        ("s3://bucket", "s3://bucket"),
        ("s3://my.bucket-1/a/b/", "s3://my.bucket-1/a/b"),
        ("s3://bucket/ü #?%20", "s3://bucket/ü #?%20"),
        ("gs://bucket/base", "gs://bucket/base"),
    ],
)
def test_uris(uri: str, clean: str):
    """A store's URI has no slash at its end."""
    assert open_store(uri).uri == clean


def test_azure(monkeypatch: pytest.MonkeyPatch):
    """An Azure container's account comes from the environment, and its lack is an error at opening."""
    with pytest.raises(InvalidUriError, match="az://container"):
        open_store("az://container")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert open_store("az://container/base").uri == "az://container/base"


def test_file_uris_are_percent_encoded(tmp_path: Path):
    """``file://`` takes what `Path.as_uri` makes, and makes the directory."""
    directory = tmp_path / "a b#c%41ü"
    store = open_store(directory.as_uri())
    store.put("key", b"x")
    assert (directory / "key").read_bytes() == b"x"
    assert store.uri == directory.as_uri()


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/absolute/path",
        "relative/path",
        "file:relative",
        "file://relative/path",
        "file:///a/../b",
        "file:///nul%00",
        "http://example.org/x",
        "S3://bucket",
        "s3:/bucket",
        "s3://",
        "s3:///key",
        "s3://b ucket",
        "s3://bucket//double",
        "s3://bucket/../up",
        "memory://a/../b",
        "file:///dev/null/x",
    ],
)
def test_uris_that_are_none(uri: str):
    """Anything else is refused, with the URI in the sentence."""
    with pytest.raises(InvalidUriError) as caught:
        open_store(uri)
    assert uri[:4] in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "said"), [("s3://", "no bucket"), ("s3://b", "cannot be"), ("gs://a b/x", "cannot be")]
)
def test_a_buckets_name_that_is_none(uri: str, said: str):
    """A name that no bucket can have is told apart from the lack of one."""
    with pytest.raises(InvalidUriError, match=said):
        open_store(uri)


@pytest.mark.parametrize("uri", ["s3://key:canary@bucket/x", "ftp://user:canary@host/"])
def test_passwords_in_uris_are_not_repeated(uri: str):
    """A URI with a password is refused without showing it."""
    with pytest.raises(InvalidUriError) as caught:
        open_store(uri)
    assert "canary" not in str(caught.value)


def test_each_memory_store_is_its_own():
    """Two openings of ``memory://`` share nothing."""
    open_store("memory://").put("key", b"x")
    assert list(open_store("memory://").list()) == []


def test_bases_are_apart(s3_endpoint: str, bucket: str):
    """Stores on two bases of one bucket do not see each other; one without base sees both."""
    options = StoreOptions(endpoint_url=s3_endpoint)
    for base in ("a", "ab"):
        open_store(f"s3://{bucket}/{base}", options).put("key", base.encode())
    assert open_store(f"s3://{bucket}/a", options).get("key") == b"a"
    assert [info.key for info in open_store(f"s3://{bucket}/a", options).list()] == ["key"]
    assert sorted(info.key for info in open_store(f"s3://{bucket}", options).list()) == ["a/key", "ab/key"]


def test_half_a_key_pair():
    """An access key id without its secret is refused at once."""
    with pytest.raises(SettingsError, match="go together"):
        StoreOptions(access_key_id="AKIA")


@pytest.mark.parametrize(
    ("options", "endpoint"),
    [
        (StoreOptions(), "https://s3.us-east-1.amazonaws.com"),
        (StoreOptions(region="cn-north-1"), "https://s3.cn-north-1.amazonaws.com.cn"),
        (StoreOptions(scheme="http"), "http://s3.us-east-1.amazonaws.com"),
        (StoreOptions(endpoint_url="https://minio.example.org:9000/"), "https://minio.example.org:9000"),
        (StoreOptions(endpoint_url="localhost:9000", scheme="http"), "http://localhost:9000"),
    ],
)
def test_endpoints(options: StoreOptions, endpoint: str):
    """The endpoint is AWS's own of the region, or the configured one."""
    assert service_endpoint(options) == endpoint


@pytest.mark.parametrize("url", ["http://user:canary@host", "ftp://host", "http://", "http://host?x=1"])
def test_endpoints_that_are_none(url: str):
    """An endpoint that is no plain HTTP URL is refused, without showing a password."""
    with pytest.raises(InvalidUriError, match="endpoint") as caught:
        open_store("s3://bucket", StoreOptions(endpoint_url=url))
    assert "canary" not in str(caught.value)


def test_the_environment_does_not_redirect(s3_endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch):
    """AWS_ENDPOINT_URL and its like change nothing about a store that our settings describe."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint, req_checksum="supported"))
    store.put_parts("key", [b"x"], part_size=5 << 20, concurrency=1)
    assert store.get("key") == b"x"
    assert store.full_checksum("key") is not None


@pytest.mark.parametrize(
    ("options", "sends", "checks"),
    [
        (StoreOptions(), True, True),
        (StoreOptions(req_checksum="required"), False, False),
        (StoreOptions(endpoint_url="http://host", req_checksum="required"), False, False),
        (StoreOptions(endpoint_url="http://host", trust_checksums=True), True, True),
        (StoreOptions(endpoint_url="http://host", trust_checksums=False), False, False),
        (StoreOptions(trust_checksums=False), True, False),
    ],
    ids=str,
)
def test_checksums(options: StoreOptions, *, sends: bool, checks: bool):
    """AWS gets checksums and is trusted; others are where the options say so (else they are asked: test_s3_probe)."""
    assert options.sends_crc64nvme is sends
    assert open_store("s3://bucket", options).checks_crc64nvme is checks


def test_nothing_else_is_trusted(tmp_path: Path):
    """Stores that do not check what they are sent say so."""
    for uri in ("memory://", tmp_path.as_uri(), "gs://bucket"):
        assert not open_store(uri).checks_crc64nvme


@pytest.mark.parametrize(("sse", "md5"), [(None, True), ("AES256", True), ("aws:kms", False), ("aws:kms:dsse", False)])
def test_kms_makes_no_md5_etags(sse: str | None, *, md5: bool):
    """ETags are MD5 unless KMS encrypts (Amazon S3 API Reference, "Object")."""
    assert open_store("s3://bucket", StoreOptions(sse=sse)).etags_are_md5 is md5


@pytest.mark.parametrize("multipart", [False, True])
def test_upload_options_reach_the_store(s3_endpoint: str, bucket: str, *, multipart: bool):
    """Encryption, storage class and tags are on every object."""
    options = StoreOptions(
        endpoint_url=s3_endpoint,
        sse="aws:kms",
        sse_kms_key_id="arn:aws:kms:us-east-1:123456789012:key/abcd",
        storage_class="STANDARD_IA",
        tags={"project": "climate", "team": "a b"},
    )
    store = open_store(f"s3://{bucket}", options)
    if multipart:
        store.put_parts("key", [b"x"], part_size=5 << 20, concurrency=1)
    else:
        store.put("key", b"x")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    head = client.head_object(Bucket=bucket, Key="key")
    tags = client.get_object_tagging(Bucket=bucket, Key="key")["TagSet"]
    client.close()
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", options.sse_kms_key_id)
    assert head["StorageClass"] == "STANDARD_IA"
    assert {tag["Key"]: tag["Value"] for tag in tags} == options.tags


def test_no_upload_is_left_when_parts_raise(s3_endpoint: str, bucket: str):
    """A multipart upload whose parts raise is aborted, so nobody pays for its parts."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))

    def parts():
        yield bytes(5 << 20)
        yield bytes(5 << 20)
        raise RuntimeError("the file changed")

    with pytest.raises(RuntimeError, match="the file changed"):
        store.put_parts("large", parts(), part_size=5 << 20, concurrency=1)
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    client.close()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_parts_are_taken_only_as_they_can_be_sent(holding: tuple[str, Event, Callable[[], int]], concurrency: int):
    """While no part is acknowledged, no more requests are made, and no more parts taken, than the port's bound says."""
    url, released, arrived = holding
    taken = 0

    def parts():
        nonlocal taken
        for _ in range(8):
            taken += 1
            yield bytes(5 << 20)

    store = open_store("s3://bucket", StoreOptions(endpoint_url=url))
    upload = Thread(
        target=lambda: store.put_parts("large", parts(), part_size=5 << 20, concurrency=concurrency), daemon=True
    )
    upload.start()
    deadline = time.monotonic() + 20
    while arrived() < concurrency and time.monotonic() < deadline:
        time.sleep(0.01)
    # Long enough for more to come, if more were to come.
    upload.join(0.3)
    assert arrived() == concurrency
    assert taken <= concurrency + 1
    released.set()
    upload.join(20)
    assert (taken, arrived()) == (8, 8)


def test_a_store_that_is_down_is_given_up_in_a_minute():
    """However often it is tried, connecting to what does not answer takes about a minute, by boto3 as by obstore."""
    options = StoreOptions(endpoint_url="http://127.0.0.1:1")
    tries = retry_config(options)["max_retries"] + 1
    assert client_options(options)["connect_timeout"] * tries <= timedelta(minutes=1)
    client = make_client(open_s3("s3://bucket", "bucket", "", options).site, 0)
    config = client.meta.config
    client.close()
    assert config.connect_timeout * config.retries["total_max_attempts"] <= 60


def test_certificates_that_cannot_be_read(tmp_path: Path):
    """A missing or malformed ca_bundle is an error at opening."""
    with pytest.raises(InvalidUriError, match="ca_bundle"):
        open_store("s3://bucket", StoreOptions(ca_bundle=tmp_path / "missing.pem"))
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(InvalidUriError, match="s3://bucket"):
        open_store("s3://bucket", StoreOptions(ca_bundle=tmp_path / "junk.pem"))


@pytest.mark.parametrize(
    ("bucket", "options", "on"),
    [
        ("bucket", StoreOptions(acceleration=True), True),
        ("bucket", StoreOptions(), False),
        ("dotted.bucket", StoreOptions(acceleration=True), False),
        ("bucket", StoreOptions(acceleration=True, endpoint_url="http://host"), False),
    ],
)
def test_when_acceleration_is_on(bucket: str, options: StoreOptions, *, on: bool):
    """Acceleration is used where it can be: not with dots in the bucket, nor with a custom endpoint."""
    accelerated = open_s3(f"s3://{bucket}", bucket, "", options)._accelerated
    assert (accelerated is not None) is on
    if accelerated is not None:
        assert accelerated.url == f"https://{bucket}.s3-accelerate.amazonaws.com"


def _with_accelerated(normal: str, accelerated: str) -> S3Store:
    store = open_s3("s3://bucket", "bucket", "", StoreOptions(endpoint_url=normal))
    store._accelerated = replace(store.site, service=accelerated)
    return store


def test_a_bucket_without_acceleration(answering: Callable[..., str], caplog: pytest.LogCaptureFixture):
    """A bucket that does not have it enabled is written by the normal endpoint, with one warning."""
    body = b"<Error><Code>InvalidRequest</Code><Message>S3 Transfer Acceleration is not configured</Message></Error>"
    store = _with_accelerated(answering(200, headers={"ETag": '"normal"'}), answering(400, body))
    assert [store.put("a", b"x"), store.put("b", b"x")] == ['"normal"', '"normal"']
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "without S3 Transfer Acceleration: S3 Transfer Acceleration is not configured" in caplog.text


def test_a_bucket_with_acceleration(answering: Callable[..., str], caplog: pytest.LogCaptureFixture):
    """Where the accelerated endpoint knows the bucket, writes go there, even without the right to read."""
    accelerated = answering(200, headers={"ETag": '"fast"', "Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"})
    store = _with_accelerated(answering(200, headers={"ETag": '"normal"'}), accelerated)
    assert store.put("a", b"x") == '"fast"'
    assert caplog.records == []


@pytest.mark.parametrize("scheme", ["file", "memory", "s3"])
def test_only_files_are_on_disk(tmp_path, scheme):
    """Readers wait less for those, and read less far ahead."""
    uri = {"file": tmp_path.as_uri(), "memory": "memory://", "s3": "s3://bucket"}[scheme]
    assert open_store(uri).is_on_disk == (scheme == "file")
