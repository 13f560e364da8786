"""Whether an S3-compatible store checks checksums: it is asked, with a wrong one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from wildcast_server.store import ObjectStore, StoreOptions, open_store

Record = Callable[[list[Any]], Any]

OK = (200, {"ETag": '"e"'}, b"")
GONE = (204, {}, b"")


def refusal(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    """Return an error of S3's."""
    return status, {}, f"<Error><Code>{code}</Code><Message>Something</Message></Error>".encode()


def _open(url: str, **options: object) -> ObjectStore:
    return open_store("s3://bucket/base", StoreOptions(endpoint_url=url, scratch="outputs", **options))


@pytest.mark.parametrize(
    ("answers", "checks"),
    [
        ([refusal(400, "BadDigest")], True),
        ([refusal(400, "XAmzContentChecksumMismatch")], True),
        ([refusal(400, "InvalidRequest"), OK, GONE], True),
        ([refusal(400, "InvalidRequest"), refusal(400, "InvalidRequest")], False),
        ([OK, GONE], False),
        ([refusal(501, "NotImplemented")], False),
    ],
    ids=["refuses", "refuses as MinIO does", "refuses only wrong ones", "refuses all", "accepts", "cannot"],
)
def test_the_answer_is_believed_and_remembered(record: Record, answers: list[Any], *, checks: bool):
    """A store that refuses a wrong checksum checks; one that takes it, or refuses right ones too, does not."""
    with record(answers) as recorder:
        store = _open(recorder.url)
        assert [store.checks_crc64nvme for _ in range(3)] == [checks] * 3
    first = recorder.seen[0]
    assert first.path.startswith("/bucket/base/outputs/.wildcast/checksum-probe-")
    assert len(recorder.seen) == len(answers)
    assert len(first.body) < 100


@pytest.mark.parametrize(
    "trouble",
    [
        [refusal(503, "SlowDown")],
        [refusal(403, "AccessDenied")],
        [None, GONE],
        [refusal(400, "RequestTimeout")],
        [refusal(400, "ExpiredToken")],
        [refusal(400, "IncompleteBody")],
    ],
    ids=["busy", "denied", "broken off", "400 time-out", "400 expired", "400 cut"],
)
def test_a_store_that_cannot_say_is_asked_again(record: Record, trouble: list[Any]):
    """An outage proves nothing: not trusted for now, without an error, and asked again at the next look."""
    with record([*trouble, refusal(400, "BadDigest")]) as recorder:
        store = _open(recorder.url)
        assert not store.checks_crc64nvme
        assert store.checks_crc64nvme


def test_the_question_is_removed_even_if_its_answer_was_lost(record: Record):
    """Bytes that may have arrived are deleted, and the deletion is made again where it fails."""
    with record([None, refusal(500, "InternalError"), None, GONE]) as recorder:
        assert not _open(recorder.url).checks_crc64nvme
    assert [seen.method for seen in recorder.seen] == ["PUT", "DELETE", "DELETE", "DELETE"]
    assert len({seen.path for seen in recorder.seen}) == 1


def test_many_ask_once(record: Record):
    """Threads that look at the same time share one request."""
    with record([refusal(400, "BadDigest")]) as recorder:
        store = _open(recorder.url)
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: store.checks_crc64nvme, range(32)))
    assert len(recorder.seen) == 1


@pytest.mark.parametrize(
    "options", [{"req_checksum": "required"}, {"trust_checksums": True}, {"trust_checksums": False}]
)
def test_what_is_configured_is_not_asked(record: Record, options: dict[str, object]):
    """Where the settings decide, nothing is sent."""
    with record([]) as recorder:
        assert _open(recorder.url, **options).checks_crc64nvme is bool(options.get("trust_checksums"))
    assert recorder.seen == []


def test_nothing_is_left_behind(s3_endpoint: str, bucket: str):
    """Moto takes wrong checksums: it is not trusted, gets none, and keeps nothing of the question."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint))
    assert not store.checks_crc64nvme
    store.put("key", b"x")
    assert store.full_checksum("key") is None
    assert [info.key for info in store.list()] == ["key"]


def test_uploads_that_nobody_ended(s3_endpoint: str, bucket: str):
    """They are found below a prefix, under any name, and can be given back; once more is no error."""
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    for key in ("base/a/ü &<1>", "base/ab", "a/other"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    store = open_store(f"s3://{bucket}/base", StoreOptions(endpoint_url=s3_endpoint))
    (upload,) = store.unfinished_uploads("a")
    assert upload.key == "a/ü &<1>"
    assert upload.initiated is not None
    assert upload.initiated.tzinfo is not None
    store.abort_upload(upload)
    store.abort_upload(upload)
    assert [left.key for left in store.unfinished_uploads("")] == ["ab"]
    client.close()


def test_pages_of_uploads(record: Record):
    """A listing goes on where its page ended, and keys come decoded."""

    def page(key: str, more: str) -> tuple[int, dict[str, str], bytes]:
        upload = f"<Upload><Key>{key}</Key><UploadId>u</UploadId></Upload>"
        head = "<ListMultipartUploadsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><EncodingType>url</EncodingType>"
        return 200, {}, f"{head}{upload}{more}</ListMultipartUploadsResult>".encode()

    truncated = (
        "<IsTruncated>true</IsTruncated><NextKeyMarker>base/a%2Bb</NextKeyMarker>"
        "<NextUploadIdMarker>u</NextUploadIdMarker>"
    )
    with record([page("base/a%2Bb", truncated), page("base/c", "")]) as recorder:
        assert [upload.key for upload in _open(recorder.url).unfinished_uploads("")] == ["a+b", "c"]
    assert "key-marker=base%2Fa%2Bb" in recorder.seen[1].path


def test_a_listing_that_never_moves_on_ends(record: Record):
    """A server that calls each page truncated and names no place to go on from is not asked for ever."""
    page = b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>"
    with record([(200, {}, page)] * 2) as recorder:
        assert list(_open(recorder.url).unfinished_uploads("")) == []


def test_xml_that_explodes_is_refused(record: Record):
    """An answer with a document type is not even parsed."""
    bomb = b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><ListMultipartUploadsResult>&a;</ListMultipartUploadsResult>"
    with record([(200, {}, bomb)]) as recorder, pytest.raises(Exception, match="document type"):
        list(_open(recorder.url, max_retries=0).unfinished_uploads(""))
