"""The S3 endpoint of the fault tests is itself held against three real clients."""

import base64
import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import obstore
import pytest
from awscrt import checksums
from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.s3 import (
    S3ChecksumAlgorithm,
    S3ChecksumConfig,
    S3ChecksumLocation,
    S3Client,
    S3RequestTlsMode,
    S3RequestType,
    create_default_s3_signing_config,
)
from botocore.config import Config
from botocore.exceptions import ClientError
from obstore.store import S3Store

pytestmark = pytest.mark.long
PART = 5 << 20
WRONG = base64.b64encode(bytes(8)).decode()


def crc(data: bytes) -> str:
    return base64.b64encode(checksums.crc64nvme(data).to_bytes(8, "big")).decode()


def client_of(url: str, key_id: str = "testing") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture
def client(endpoint: Any) -> Iterator[Any]:
    """A boto3 client of an endpoint that checks and is empty."""
    endpoint.ask("POST", "_control/reset")
    client = client_of(endpoint.url)
    yield client
    client.close()


def store_of(url: str) -> S3Store:
    return S3Store(
        "bucket",
        config={
            "endpoint": url,
            "region": "us-east-1",
            "access_key_id": "testing",
            "secret_access_key": "testing",
            "checksum_algorithm": "CRC64NVME",
        },
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def upload_of(client: Any, key: str, *parts: bytes) -> tuple[str, list[dict[str, Any]]]:
    upload = client.create_multipart_upload(Bucket="bucket", Key=key)["UploadId"]
    sent = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(Bucket="bucket", Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"],
        }
        for number, part in enumerate(parts, 1)
    ]
    return upload, sent


def complete(client: Any, key: str, upload: str, parts: list[dict[str, Any]], **more: str) -> Any:
    return client.complete_multipart_upload(
        Bucket="bucket",
        Key=key,
        UploadId=upload,
        MultipartUpload={"Parts": parts},
        **more,
    )


def test_an_object_comes_back_with_what_was_stored_along(client: Any):
    """Bytes, MD5 ETag, content type, metadata and CRC64NVME of a PUT are what GET and HEAD show."""
    data = b"a body"
    client.put_object(Bucket="bucket", Key="a/ä &b", Body=data, ContentType="text/x", Metadata={"one": "1"})
    got = client.get_object(Bucket="bucket", Key="a/ä &b")
    head = client.head_object(Bucket="bucket", Key="a/ä &b", ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert (got["ContentType"], got["Metadata"]) == ("text/x", {"one": "1"})
    assert head["ETag"] == f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    assert (head["ChecksumCRC64NVME"], head["ContentLength"]) == (crc(data), len(data))


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32", "CRC32C", "SHA256", "SHA1"])
def test_a_wrong_checksum_is_refused(client: Any, algorithm: str):
    """Whatever kind of checksum is sent, one that is wrong keeps the object out."""
    length = {"CRC32": 4, "CRC32C": 4, "SHA256": 32, "SHA1": 20}.get(algorithm, 8)
    wrong = {f"Checksum{algorithm}": base64.b64encode(bytes(length)).decode()}
    client.put_object(Bucket="bucket", Key="right", Body=b"x", ChecksumAlgorithm=algorithm)
    assert code_of(lambda: client.put_object(Bucket="bucket", Key="wrong", Body=b"x", **wrong)) == "BadDigest"
    assert code_of(lambda: client.head_object(Bucket="bucket", Key="wrong")) == "404"


def test_a_wrong_md5_is_refused(client: Any):
    """Content-MD5 is compared with the body."""
    md5 = base64.b64encode(bytes(16)).decode()
    assert code_of(lambda: client.put_object(Bucket="bucket", Key="k", Body=b"x", ContentMD5=md5)) == "BadDigest"


def test_a_wrong_payload_hash_is_refused(endpoint: Any):
    """x-amz-content-sha256 is compared with the body."""
    request = urllib.request.Request(f"{endpoint.url}/bucket/k", data=b"x", method="PUT")
    request.add_header("x-amz-content-sha256", hashlib.sha256(b"y").hexdigest())
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        assert (error.code, b"XAmzContentSHA256Mismatch" in error.read()) == (400, True)


@pytest.mark.parametrize(("declared", "expected"), [("right", 200), ("wrong", 400)])
def test_a_trailing_checksum_is_verified(endpoint: Any, declared: str, expected: int):
    """A body in aws-chunked encoding is unpacked and held against the checksum in its trailer."""
    data = os.urandom(70_000)
    value = crc(data) if declared == "right" else WRONG
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:65536], data[65536:]))
    body = chunks + f"0\r\nx-amz-checksum-crc64nvme:{value}\r\n\r\n".encode()
    request = urllib.request.Request(f"{endpoint.url}/bucket/trailing", data=body, method="PUT")
    request.add_header("Content-Encoding", "aws-chunked")
    request.add_header("x-amz-decoded-content-length", str(len(data)))
    request.add_header("x-amz-trailer", "x-amz-checksum-crc64nvme")
    try:
        with urllib.request.urlopen(request) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    assert status == expected
    if expected == 200:
        assert endpoint.read("trailing") == data


def test_ranges_are_those_of_rfc_9110(client: Any):
    """A range from both ends, from one, and the last bytes; one behind the end is refused."""
    client.put_object(Bucket="bucket", Key="k", Body=b"0123456789")

    def part(given: str) -> bytes:
        return client.get_object(Bucket="bucket", Key="k", Range=f"bytes={given}")["Body"].read()

    assert (part("2-4"), part("7-"), part("-3"), part("8-99")) == (b"234", b"789", b"789", b"89")
    assert code_of(lambda: part("10-")) == "InvalidRange"


def test_a_multipart_object_has_the_checksum_and_etag_of_s3(client: Any):
    """The CRC64NVME is that of the whole object, the ETag the MD5 of the parts' MD5s with their number."""
    first, second = os.urandom(PART), b"the end"
    upload, parts = upload_of(client, "big", first, second)
    answer = complete(client, "big", upload, parts)
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in (first, second))
    assert answer["ETag"] == f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-2"'
    head = client.head_object(Bucket="bucket", Key="big", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == crc(first + second)


def test_parts_have_to_be_large_known_and_in_order(client: Any):
    """A small part that is not the last, a wrong ETag and a wrong order are refused, each with S3's code."""
    upload, parts = upload_of(client, "k", b"small", b"end")
    unknown = [parts[0], {**parts[1], "ETag": '"0"'}]
    assert code_of(lambda: complete(client, "k", upload, parts)) == "EntityTooSmall"
    assert code_of(lambda: complete(client, "k", upload, unknown)) == "InvalidPart"
    assert code_of(lambda: complete(client, "k", upload, parts[::-1])) == "InvalidPartOrder"


def test_etags_may_be_asked_for_as_they_were_given(client: Any, endpoint: Any):
    """S3 takes an ETag without its quotes; with the switch on, this endpoint takes it only as it gave it."""
    upload, parts = upload_of(client, "k", b"only")
    bare = [{**parts[0], "ETag": parts[0]["ETag"].strip('"')}]
    endpoint.switch("exact_etags", on=True)
    try:
        assert code_of(lambda: complete(client, "k", upload, bare)) == "InvalidPart"
    finally:
        endpoint.switch("exact_etags", on=False)
    assert complete(client, "k", upload, bare)["ETag"].endswith('-1"')


def test_conditions_hold_for_single_and_multipart_writes(client: Any):
    """If-None-Match and If-Match are answered 412 where they are not met."""
    etag = client.put_object(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    upload, parts = upload_of(client, "k", b"2")

    def put(**condition: str) -> object:
        return client.put_object(Bucket="bucket", Key="k", Body=b"3", **condition)

    assert code_of(lambda: put(IfNoneMatch="*")) == "PreconditionFailed"
    assert code_of(lambda: complete(client, "k", upload, parts, IfNoneMatch="*")) == "PreconditionFailed"
    assert code_of(lambda: put(IfMatch='"other"')) == "PreconditionFailed"
    assert put(IfMatch=etag)


def test_unfinished_uploads_are_listed_until_they_are_aborted(client: Any, endpoint: Any):
    """An upload that nobody ends is in the listing and in the statistics; its parts can be listed."""
    upload, parts = upload_of(client, "left/k", b"part")
    listed = client.list_multipart_uploads(Bucket="bucket", Prefix="left/")["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in listed] == [("left/k", upload)]
    assert client.list_parts(Bucket="bucket", Key="left/k", UploadId=upload)["Parts"][0]["ETag"] == parts[0]["ETag"]
    assert endpoint.stats()["unfinished_uploads"] == ["left/k"]
    client.abort_multipart_upload(Bucket="bucket", Key="left/k", UploadId=upload)
    assert endpoint.stats()["unfinished_uploads"] == []
    assert code_of(lambda: complete(client, "left/k", upload, parts)) == "NoSuchUpload"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_listings_are_whole_at_every_page_size(client: Any, size: int):
    """Pages give every key once, in byte order, also with a prefix, a start and a delimiter."""
    keys = sorted(["a", "a/1", "a/2/x", "a/2/y", "a/3", "ab", "ä/1", "b/1&2"])
    for key in keys:
        client.put_object(Bucket="bucket", Key=key, Body=b"x")
    pages = client.get_paginator("list_objects_v2")

    def listed(**asked: str) -> tuple[list[str], list[str]]:
        found = list(pages.paginate(Bucket="bucket", PaginationConfig={"PageSize": size}, **asked))
        return (
            [one["Key"] for page in found for one in page.get("Contents", [])],
            [one["Prefix"] for page in found for one in page.get("CommonPrefixes", [])],
        )

    assert listed() == (keys, [])
    assert listed(Prefix="a/") == (["a/1", "a/2/x", "a/2/y", "a/3"], [])
    assert listed(Prefix="a/", Delimiter="/") == (["a/1", "a/3"], ["a/2/"])
    assert listed(Delimiter="/") == (["a", "ab"], ["a/", "b/", "ä/"])
    assert listed(StartAfter="a/2/x", Prefix="a") == (["a/2/y", "a/3", "ab"], [])


def test_obstore_writes_lists_and_reads(endpoint: Any):
    """Single writes of obstore, multipart writes with parts of their own checksum, listing and ranges work."""
    endpoint.ask("POST", "_control/reset")
    store = store_of(endpoint.url)
    data = os.urandom(PART + 10)
    obstore.put(store, "o/small", b"small", use_multipart=False)
    obstore.put(store, "o/large", iter([data[:PART], data[PART:]]), chunk_size=PART)
    assert sorted(meta["path"] for meta in obstore.list(store, "o").collect()) == ["o/large", "o/small"]
    assert bytes(obstore.get_range(store, "o/large", start=PART, end=PART + 10)) == data[PART:]
    assert endpoint.objects()["o/large"]["crc64nvme"] == crc(data)


def crt_put(url: str, key: str, file: Path) -> None:
    """Write with the AWS Common Runtime, with a CRC64NVME in the trailer of each part."""
    provider = AwsCredentialsProvider.new_static("testing", "testing")
    headers = HttpHeaders([("Host", url.partition("://")[2]), ("Content-Length", str(file.stat().st_size))])
    s3 = S3Client(
        region="us-east-1",
        tls_mode=S3RequestTlsMode.DISABLED,
        signing_config=create_default_s3_signing_config(region="us-east-1", credential_provider=provider),
        part_size=PART,
    )
    request = s3.make_request(
        type=S3RequestType.PUT_OBJECT,
        request=HttpRequest("PUT", f"/bucket/{key}", headers),
        send_filepath=str(file),
        checksum_config=S3ChecksumConfig(algorithm=S3ChecksumAlgorithm.CRC64NVME, location=S3ChecksumLocation.TRAILER),
    )
    request.finished_future.result(60)
    del request


@pytest.mark.parametrize("size", [1000, PART + 5])
def test_the_common_runtime_writes_with_trailing_checksums(endpoint: Any, tmp_path: Path, size: int):
    """The S3 client of awscrt writes small and large objects, and their checksums are found right."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    crt_put(endpoint.url, "crt", tmp_path / "file")
    assert endpoint.read("crt") == data
    assert endpoint.objects()["crt"]["crc64nvme"] == crc(data)


def test_credentials_end(start_endpoint: Callable[..., Any]):
    """An access key is accepted until the second in its name, and not if it would live longer than allowed."""
    endpoint = start_endpoint("--token-seconds", "2")

    def code(expiry: float) -> str:
        client = client_of(endpoint.url, f"AK{int(expiry)}")
        try:
            return code_of(lambda: client.get_object(Bucket="bucket", Key="none"))
        finally:
            client.close()

    now = time.time()
    assert code(now + 2) == "NoSuchKey"
    assert code(now - 1) == "ExpiredToken"
    assert code(now + 60) == "InvalidAccessKeyId"


@pytest.mark.parametrize(
    ("switch", "code"),
    [("access_denied", "AccessDenied"), ("no_such_bucket", "NoSuchBucket"), ("unavailable", "ServiceUnavailable")],
)
def test_what_a_switch_refuses_comes_back_when_it_is_off(client: Any, endpoint: Any, switch: str, code: str):
    """A switch makes every request fail with S3's code, until it is turned off."""
    endpoint.switch(switch, on=True)
    try:
        assert code_of(lambda: client.put_object(Bucket="bucket", Key="k", Body=b"x")) == code
    finally:
        endpoint.switch(switch, on=False)
    assert client.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]


def test_without_checking_bodies_are_zeros_and_sizes_true(start_endpoint: Callable[..., Any]):
    """Bodies that are thrown away read as zeros; HEAD and listings are true, and small wrong bodies are refused."""
    endpoint = start_endpoint(null=True)
    client = client_of(endpoint.url)
    data = os.urandom(PART + 7)
    client.put_object(Bucket="bucket", Key="small", Body=data[:5000], ChecksumAlgorithm="CRC64NVME")
    upload, parts = upload_of(client, "large", data[:PART], data[PART:])
    complete(client, "large", upload, parts)
    assert client.get_object(Bucket="bucket", Key="small", Range="bytes=1-3")["Body"].read() == bytes(3)
    head = client.head_object(Bucket="bucket", Key="small", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ChecksumCRC64NVME"]) == (5000, crc(data[:5000]))
    assert [one["Size"] for one in client.list_objects_v2(Bucket="bucket")["Contents"]] == [len(data), 5000]
    wrong = {"ChecksumCRC64NVME": WRONG}
    assert code_of(lambda: client.put_object(Bucket="bucket", Key="k", Body=b"probe", **wrong)) == "BadDigest"
    client.close()


def test_without_checking_a_multipart_checksum_is_combined(start_endpoint: Callable[..., Any]):
    """The CRC64NVME of a multipart object is combined from those that came with its parts."""
    endpoint = start_endpoint(null=True)
    data = os.urandom(PART + 7)
    obstore.put(store_of(endpoint.url), "k", iter([data[:PART], data[PART:]]), chunk_size=PART)
    assert endpoint.objects()["k"]["crc64nvme"] == crc(data)
    assert endpoint.stats()["puts_over_one"] == {}
