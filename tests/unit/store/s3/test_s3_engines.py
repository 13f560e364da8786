"""What every engine that writes to S3 does: the Rust client, boto3, the AWS Common Runtime."""

import base64
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from awscrt.checksums import crc64nvme

from wildcast_server.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    NetworkError,
    NoSuchBucketError,
    StoreError,
)
from wildcast_server.store import ObjectAttributes, ObjectStore, StoreOptions, open_store

PART = 5 << 20
ENDPOINT = Path(__file__).parents[4] / "benchmarks/s3_endpoint.py"
ENGINES = {
    "rust": ({}, "the Rust client"),
    "boto3": ({"use_rust_client": False}, "boto3"),
    "crt": ({"crt_min_limit": 0}, "the AWS Common Runtime"),
}
Record = Callable[[list[Any]], Any]

ODD = "dir/a b+ü%2f~'(*)!&=;#x"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> dict[str, object]:
    """The options that choose an engine for everything."""
    return ENGINES[request.param][0]


@pytest.fixture(scope="module")
def checking() -> Iterator[str]:
    """URL of an endpoint that refuses what S3 refuses, wrong checksums above all."""
    with subprocess.Popen([sys.executable, ENDPOINT, "--check"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


@pytest.fixture
def opened(checking: str, request: pytest.FixtureRequest, engine: dict[str, object]) -> ObjectStore:
    """A store of its own prefix at that endpoint."""
    base = re.sub(r"\W", "-", request.node.name)
    return open_store(f"s3://bucket/{base}", StoreOptions(endpoint_url=checking, **engine))


def _crc(data: bytes) -> str:
    return base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()


def _parts(store: ObjectStore, key: str, parts: list[bytes], **options: object) -> str | None:
    size = sum(map(len, parts))
    return store.put_parts(key, iter(parts), part_size=PART, concurrency=2, size=size, **options)


@pytest.mark.parametrize("data", [b"", b"x", bytes(600 << 10)], ids=["empty", "one", "600 KiB"])
def test_an_object_in_one_request(opened: ObjectStore, data: bytes):
    """What was put is got, under any name, with the ETag that the store gave."""
    etag = opened.put(ODD, data)
    assert opened.get(ODD) == data
    assert etag is not None
    assert etag.startswith('"')
    assert opened.head(ODD).etag == etag


def test_checksums_are_sent_once_the_store_is_known_to_check(opened: ObjectStore):
    """The first look finds that this endpoint refuses a wrong one; from then on it has one of every object."""
    opened.put("before", b"x")
    assert opened.checks_crc64nvme
    opened.put("small", b"y")
    _parts(opened, "large", [bytes(PART), b"z"])
    assert opened.full_checksum("small") == _crc(b"y")
    assert opened.full_checksum("large") == _crc(bytes(PART) + b"z")
    assert sorted(info.key for info in opened.list()) == ["before", "large", "small"]


def test_an_object_in_parts(opened: ObjectStore):
    """Parts arrive in order as one object, with the ETag that `head` shows."""
    parts = [b"a" * PART, b"b" * PART, b"c"]
    etag = _parts(opened, "large", parts)
    assert opened.get("large") == b"".join(parts)
    assert etag == opened.head("large").etag
    assert list(opened.unfinished_uploads("")) == []


@pytest.mark.parametrize("multipart", [False, True])
def test_nothing_is_replaced_that_may_not_be(opened: ObjectStore, *, multipart: bool):
    """A conditional write creates, and then refuses and leaves the object; no upload stays behind."""

    def create(data: bytes) -> str | None:
        return _parts(opened, "key", [data], if_absent=True) if multipart else opened.put_if_absent("key", data)

    etag = create(b"first")
    with pytest.raises(AlreadyExistsError, match="key"):
        create(b"second")
    assert opened.get("key") == b"first"
    assert opened.head("key").etag == etag
    assert list(opened.unfinished_uploads("")) == []


def test_parts_that_raise_leave_nothing(opened: ObjectStore):
    """An exception of the iterator goes on as it is, and the upload is aborted."""

    def parts() -> Iterator[bytes]:
        yield bytes(PART)
        raise OSError(5, "the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        opened.put_parts("large", parts(), part_size=PART, concurrency=2, size=2 * PART)
    assert not isinstance(caught.value, StoreError)
    assert list(opened.unfinished_uploads("")) == []
    assert list(opened.list()) == []


def test_what_is_stored_along(s3_endpoint: str, bucket: str, engine: dict[str, object]):
    """Content type, caching, class, tags and encryption are on every object, of one request or of many."""
    options = StoreOptions(
        endpoint_url=s3_endpoint,
        sse="aws:kms",
        sse_kms_key_id="arn:aws:kms:us-east-1:123456789012:key/abcd",
        storage_class="STANDARD_IA",
        tags={"project": "climate", "team": "a b"},
        **engine,
    )
    store = open_store(f"s3://{bucket}", options)
    attributes = ObjectAttributes("application/json", "no-cache")
    store.put("one", b"x", attributes)
    _parts(store, "many", [b"x"], attributes=attributes)
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    for key in ("one", "many"):
        head = client.head_object(Bucket=bucket, Key=key)
        tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        assert (head["ContentType"], head["CacheControl"]) == ("application/json", "no-cache")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", options.sse_kms_key_id)
        assert head["StorageClass"] == "STANDARD_IA"
        assert {tag["Key"]: tag["Value"] for tag in tags} == options.tags
    client.close()


def test_requests_go_where_the_endpoint_is(record: Record, engine: dict[str, object]):
    """The configured endpoint is spoken to, by its own name and port, with the bucket in the path."""
    with record([OK]) as recorder:
        url = recorder.url.replace("127.0.0.1", "localhost")
        store = open_store("s3://bucket", StoreOptions(endpoint_url=url, **engine))
        assert store.put("key", b"x") == '"e"'
    seen = recorder.seen[0]
    assert (seen.path, seen.headers["host"]) == ("/bucket/key", url.removeprefix("http://"))


@pytest.mark.parametrize("engine", ["rust", "boto3"], indirect=True)
def test_the_bucket_in_the_host(record: Record, engine: dict[str, object]):
    """With virtual addressing the host's name begins with the bucket's; a proxy sees it without its being resolved."""
    with record([OK]) as proxy:
        options = StoreOptions(
            endpoint_url="http://store.example.org",
            use_virtual_addressing=True,
            proxy_url=proxy.url,
            **engine,
        )
        open_store("s3://bucket", options).put("key", b"x")
    assert proxy.seen[0].path == "http://bucket.store.example.org/key"


@pytest.mark.parametrize("multipart", [False, True])
def test_a_missing_bucket(s3_endpoint: str, engine: dict[str, object], *, multipart: bool):
    """A bucket that does not exist is called so."""
    store = open_store("s3://no-such-bucket", StoreOptions(endpoint_url=s3_endpoint, **engine))
    with pytest.raises(NoSuchBucketError, match="no such bucket"):
        _parts(store, "key", [b"x"]) if multipart else store.put("key", b"x")


def test_no_credentials(s3_endpoint: str, engine: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where nobody hands out credentials it is an access error that says what to do."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_store("s3://bucket", StoreOptions(endpoint_url=s3_endpoint, **engine))
    with pytest.raises(AccessDeniedError, match="set them, or name a profile"):
        store.put("key", b"x")


OK = (200, {"ETag": '"e"'}, b"")
BEGUN = (200, {}, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
ENDED = (200, {}, b"<CompleteMultipartUploadResult><ETag>&quot;m&quot;</ETag></CompleteMultipartUploadResult>")


def failure(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    """Return an answer of S3's that is an error."""
    return status, {}, f"<Error><Code>{code}</Code><Message>Something</Message></Error>".encode()


def test_a_busy_store_gets_its_time(record: Record, engine: dict[str, object]):
    """Outages are waited out, and what asked for patience is counted."""
    answers = [failure(503, "SlowDown"), failure(500, "InternalError"), None, failure(400, "BadDigest"), OK]
    with record(answers) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        assert store.put("key", b"bytes") == '"e"'
    # The Common Runtime repeats some by itself.
    assert (store.slow_downs, store.retries) == (1, 4) or "crt_min_limit" in engine
    assert len(recorder.seen) == 5
    assert {request.body for request in recorder.seen} == {b"bytes"}


def test_a_conflict_is_repeated(record: Record, engine: dict[str, object]):
    """Two conditional writes at a time are told 409 to repeat theirs; 412 is what says that one was there first."""
    with record([failure(409, "ConditionalRequestConflict"), failure(412, "PreconditionFailed")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        with pytest.raises(AlreadyExistsError):
            store.put_if_absent("key", b"x")
    assert [request.headers["if-none-match"] for request in recorder.seen] == ["*", "*"]


def test_an_outage_ends_with_the_deadline(record: Record, engine: dict[str, object]):
    """A store that stays away is given up when the time is over, with what it said last."""
    with record([failure(500, "InternalError")] * 1000) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, retry_deadline=1, **engine))
        with pytest.raises(NetworkError, match="500 InternalError"):
            store.put("key", b"x")
    assert len(recorder.seen) > 1


def test_a_refusal_is_not_repeated(record: Record, engine: dict[str, object]):
    """What cannot pass is told at once."""
    with record([failure(403, "AccessDenied")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        with pytest.raises(AccessDeniedError, match="403 AccessDenied"):
            store.put("key", b"x")
    assert len(recorder.seen) == 1


def test_a_part_is_repeated(record: Record, engine: dict[str, object]):
    """An outage in the middle of a multipart upload costs a part, not the upload."""
    with record([BEGUN, failure(500, "InternalError"), OK, failure(503, "SlowDown"), ENDED]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        assert _parts(store, "key", [b"x"]) == '"m"'
    assert [request.method for request in recorder.seen] == ["POST", "PUT", "PUT", "POST", "POST"]


def test_an_upload_that_fails_is_aborted(record: Record, engine: dict[str, object]):
    """Whatever ends it, the parts are given back."""
    with record([BEGUN, failure(403, "AccessDenied"), (204, {}, b"")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        with pytest.raises(AccessDeniedError):
            _parts(store, "key", [b"x"])
    assert (recorder.seen[-1].method, recorder.seen[-1].path) == ("DELETE", "/bucket/key?uploadId=u")


def test_an_upload_that_the_store_lost(record: Record, engine: dict[str, object]):
    """It may have been ended by a request whose answer was lost: whoever has the bytes may begin again."""
    with record([BEGUN, OK, failure(404, "NoSuchUpload"), (204, {}, b"")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        with pytest.raises(NetworkError, match="begin it again"):
            _parts(store, "key", [b"x"])


def test_an_error_that_came_as_a_success(record: Record, engine: dict[str, object]):
    """Completing may answer 200 and then an error, which is repeated (Amazon S3 API Reference)."""
    with record([BEGUN, OK, (200, {}, failure(0, "InternalError")[2]), ENDED]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        assert _parts(store, "key", [b"x"]) == '"m"'


def test_a_store_that_says_nothing_is_not_waited_for_long(record: Record, engine: dict[str, object]):
    """A stalled request ends after the time-out that fits its size, and is repeated."""
    with record([...]) as recorder:
        options = StoreOptions(endpoint_url=recorder.url, response_timeout=0.1, max_retries=0, **engine)
        with pytest.raises(NetworkError, match="in time"):
            open_store("s3://bucket", options).put("key", bytes(100))


def test_parts_are_taken_only_as_they_can_be_sent(
    holding: tuple[str, threading.Event, Callable[[], int]], engine: dict[str, object]
):
    """While no part is acknowledged, no more requests are made, and no more parts taken, than the port's bound says."""
    url, released, arrived = holding
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(6):
            taken += 1
            yield bytes(PART)

    store = open_store("s3://bucket", StoreOptions(endpoint_url=url, **engine))
    upload = threading.Thread(
        target=lambda: store.put_parts("large", parts(), part_size=PART, concurrency=2, size=6 * PART), daemon=True
    )
    upload.start()
    for _ in range(500):
        upload.join(0.02)
        if arrived() == 2:
            break
    upload.join(0.3)
    assert arrived() == 2
    assert taken <= 3
    released.set()
    upload.join(20)
    assert (taken, arrived()) == (6, 6)


@pytest.mark.parametrize(
    ("options", "small", "large"),
    [
        ({}, "the Rust client", "the Rust client"),
        ({"use_rust_client": False}, "boto3", "boto3"),
        ({"crt_min_limit": 10}, "the Rust client", "the AWS Common Runtime"),
        ({"crt_min_limit": 10, "use_rust_client": False}, "boto3", "the AWS Common Runtime"),
    ],
    ids=["default", "no rust", "crt", "crt, no rust"],
)
def test_the_choice_is_logged(
    s3_endpoint: str, bucket: str, caplog: pytest.LogCaptureFixture, options: dict[str, object], small: str, large: str
):
    """Which engine an object goes through depends on its size, and is in the log for who wants to know."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint, **options))
    with caplog.at_level(logging.DEBUG, "wildcast_server.store"):
        store.put("small", b"x" * 9)
        store.put("large", b"x" * 10)
        store.put_parts("parts", [b"x" * 10], part_size=PART, concurrency=1, size=10)
        store.put_parts("unknown", [b"x" * 10], part_size=PART, concurrency=1)
    said = dict(re.findall(rf"s3://{bucket}/(\w+), .*written by (.*)", "\n".join(caplog.messages)))
    assert said == {"small": small, "large": large, "parts": large, "unknown": small}


@pytest.mark.parametrize("where", ["settings", "environment"])
def test_the_common_runtime_knows_no_proxy(
    record: Record, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str
):
    """Where there is a proxy, objects take the other engine's way through it, rather than none."""
    with record([OK]) as proxy, caplog.at_level(logging.INFO, "wildcast_server.store"):
        options = StoreOptions(scheme="http", crt_min_limit=0)
        if where == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        else:
            options = replace(options, proxy_url=proxy.url)
        open_store("s3://bucket", options).put("key", b"x")
    assert proxy.seen[0].path.startswith("http://s3.us-east-1.amazonaws.com/")
    assert "crt_min_limit is ignored" in caplog.text
