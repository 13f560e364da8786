"""Streaming into S3: what the bucket holds afterwards, as somebody else's client sees it."""

from contextlib import closing

import boto3
import pytest
import zarr

from wildcast_server.errors import AlreadyExistsError, NoSuchBucketError
from wildcast_server.store import StoreOptions
from wildcast_server.transfer.ledger import read_ledger
from wildcast_server.transfer.streaming import open_sink, plain_options

PART = 5 << 20
DATA = bytes(range(256)) * (2 * PART // 256) + b"the end"


@pytest.fixture
def s3(s3_endpoint):
    """boto3's client."""
    with closing(boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")) as client:
        yield client


@pytest.fixture(params=[True, False], ids=["rust", "boto3"])
def sink(request, s3_endpoint, bucket, tmp_path):
    """A sink over a fresh bucket."""
    made = sink_of(s3_endpoint, bucket, tmp_path, use_rust_client=request.param)
    yield made
    made.abort()


def sink_of(endpoint, bucket, directory, **options):
    plain = plain_options(StoreOptions(endpoint_url=endpoint, **options))
    store = f"s3://{bucket}"
    return open_sink(
        directory, store=store, options=plain, prefix="p", ledger=str(directory / "ledger"), part_size=PART
    )


def uploads(s3, bucket):
    return s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])


def test_a_long_file_is_whole_and_its_row_is_true(sink, s3, bucket, tmp_path):
    """Small pieces became parts; the ETag in the ledger is the one that S3 lists."""
    with sink.open("a/long.bin") as file:
        for start in range(0, len(DATA), 300_000):
            file.write(DATA[start : start + 300_000])
    body = s3.get_object(Bucket=bucket, Key="p/a/long.bin")
    assert body["Body"].read() == DATA
    row = read_ledger(tmp_path / "ledger")["a/long.bin"]
    assert row.etag.strip('"') == body["ETag"].strip('"')
    assert row.etag.strip('"').endswith("-3")
    assert row.size == len(DATA)
    assert uploads(s3, bucket) == []


def test_a_short_file_begins_no_multipart_upload(sink, s3, bucket):
    """It is one PUT, as its ETag tells."""
    with sink.open("short.bin") as file:
        file.write(b"short")
    assert "-" not in s3.head_object(Bucket=bucket, Key="p/short.bin")["ETag"]
    assert uploads(s3, bucket) == []


def test_an_aborted_file_leaves_no_upload(sink, s3, bucket):
    """S3 bills for parts that nobody completes."""
    file = sink.open("half.bin")
    file.write(DATA)
    file.abort()
    assert uploads(s3, bucket) == []
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_conditional_create_leaves_what_is_there(sink, s3, bucket):
    """In one request and in several."""
    for name, data in (("short", b"ours"), ("long", DATA)):
        file = sink.open(name, if_absent=True)
        file.write(data)
        s3.put_object(Bucket=bucket, Key=f"p/{name}", Body=b"theirs")
        with pytest.raises(AlreadyExistsError):
            file.close()
        assert s3.get_object(Bucket=bucket, Key=f"p/{name}")["Body"].read() == b"theirs"
    assert uploads(s3, bucket) == []


def test_chunks_are_written_changed_and_deleted(sink, s3, bucket, tmp_path):
    """A zarr array's chunks are the bucket's only objects."""
    array = zarr.create_array(sink.zarr_store("a.zarr"), shape=6, chunks=2, dtype="i4", fill_value=0)
    array[:] = 1
    array[1] = 5
    array[4:] = 0
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [item["Key"] for item in listed] == ["p/a.zarr/c/0", "p/a.zarr/c/1"]
    rows = read_ledger(tmp_path / "ledger")
    assert [rows[item["Key"][2:]].etag.strip('"') for item in listed] == [item["ETag"].strip('"') for item in listed]
    assert array[:].tolist() == [1, 5, 1, 1, 0, 0]


def test_a_missing_bucket_is_told(s3_endpoint, tmp_path):
    """The first write that reaches the store says so."""
    sink = sink_of(s3_endpoint, "not-there", tmp_path)
    with pytest.raises(NoSuchBucketError), sink.open("a") as file:
        file.write(b"x")
    sink.abort()
