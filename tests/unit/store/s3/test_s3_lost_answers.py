"""Answers that are lost, cut off, or not S3's: what the engines that send requests themselves make of them."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wildcast_server.errors import AccessDeniedError, NetworkError, OtherStoreError
from wildcast_server.store import Blobs, StoreOptions, open_presigner, open_store
from wildcast_server.store._s3_boto import BotoWriter
from wildcast_server.store._s3_site import describe_site
from wildcast_server.store._s3_writer import Part, RequestWriter

Record = Callable[[list[Any]], Any]

PART = 5 << 20
OK = (200, {"ETag": '"e"'}, b"")
BEGUN = (200, {}, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
ENDED = (200, {}, b"<CompleteMultipartUploadResult><ETag>&quot;m&quot;</ETag></CompleteMultipartUploadResult>")
FAILED = b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>Something</Message></Error>"


@pytest.fixture(params=[{"use_rust_client": False}, {"crt_min_limit": 0}], ids=["boto3", "crt"])
def engine(request: pytest.FixtureRequest) -> dict[str, object]:
    """The engines whose multipart uploads are ours."""
    return request.param


@pytest.mark.parametrize("answer", [b" " * 500 + FAILED, b"", b"<html>Welcome</html>"], ids=["late", "empty", "html"])
def test_completing_is_done_only_when_the_store_says_so(record: Record, engine: dict[str, object], answer: bytes):
    """A 200 that holds an error behind white space, or nothing of S3's, is asked again (`CompleteMultipartUpload`)."""
    with record([BEGUN, OK, (200, {}, answer), ENDED]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, **engine))
        assert store.put_parts("key", [b"x"], part_size=PART, concurrency=1, size=1) == '"m"'


class Flaky(RequestWriter):
    """A writer whose parts but the second are away, and the second of which is refused, once both are under way."""

    name = "flaky"

    def __init__(self) -> None:
        super().__init__(describe_site("bucket", StoreOptions()), self._until_refused, checksums=False)
        self.tries = 0
        self.aborted = 0
        self.under_way = threading.Event()

    def _until_refused(self, work: Callable[[], object]) -> object:
        while True:
            try:
                return work()
            except NetworkError:
                self.tries += 1
                self.under_way.set()

    def put(self, *_arguments: object, **_named: object) -> None:
        raise NotImplementedError

    def create(self, *_arguments: object) -> str:
        return "u"

    def upload(self, _path: str, _upload: str, number: int, _data: bytes) -> Part:
        if number == 2:
            assert self.under_way.wait(20)
            raise AccessDeniedError("no")
        raise NetworkError("away")

    def complete(self, *_arguments: object, **_named: object) -> str:
        raise NotImplementedError

    def abort(self, *_arguments: object) -> None:
        self.aborted += 1


@pytest.mark.parametrize("last", [b"2", KeyboardInterrupt()], ids=["refusal", "interrupt"])
def test_one_failure_ends_the_repetitions_of_other_parts(last: bytes | BaseException):
    """A part that is tried again and again is given up when another is refused, or the caller interrupted."""
    writer = Flaky()

    def parts() -> Iterator[bytes]:
        yield b"1"
        assert writer.under_way.wait(20)
        if isinstance(last, BaseException):
            raise last
        yield last

    kind = type(last) if isinstance(last, BaseException) else AccessDeniedError
    with pytest.raises(kind):
        writer.put_parts("key", parts(), part_size=1, concurrency=2, attributes=None, if_absent=False)
    assert writer.aborted == 1


def test_boto3_makes_few_clients():
    """Bodies of a thousand sizes share a handful of clients, each of which holds connections."""
    site = describe_site("bucket", StoreOptions(endpoint_url="http://127.0.0.1:1"))
    writer = BotoWriter(site, lambda work: work(), checksums=False)
    for size in range(0, 64 << 20, 256 << 10):
        writer._connect(size)
    assert len(writer._clients) <= 5


def test_a_range_that_breaks_off_is_read_again(record: Record):
    """A body that ends in the middle costs another request, for a caller's buffer too."""
    known = {"ETag": '"e"', "Last-Modified": "Fri, 01 Jan 2021 00:00:00 GMT", "Content-Range": "bytes 0-9/10"}
    with record([None, (206, known, b"0123456789")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url))
        buffer = bytearray(10)
        store.read_into("key", memoryview(buffer))
    assert bytes(buffer) == b"0123456789"
    assert store.retries == 1


def test_a_store_that_stays_away_is_read_from_until_the_deadline(record: Record):
    """The driver's own repetitions do not come on top of ours."""
    with record([(500, {}, FAILED)] * 1000) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, max_retries=2))
        with pytest.raises(NetworkError):
            store.get("key")
    assert len(recorder.seen) == 3


def test_a_refusal_that_breaks_off_is_an_outage(answering: Callable[..., str]):
    """Also where presigning sends the request: an error of the library's own never comes through."""
    url = answering(500, b"<Err", {"Content-Length": "100"})
    options = StoreOptions(endpoint_url=f"{url}/account", max_retries=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
        presigner = open_presigner("az://container", options)
        with pytest.raises(NetworkError) as caught:
            presigner.complete_multipart("key", presigner.create_multipart("key"), {1: ""})
    assert "sig=" not in str(caught.value)


@pytest.mark.parametrize("panic", [SystemExit, KeyboardInterrupt])
def test_a_thread_that_is_torn_down_is_never_a_transfer_that_is_done(tmp_path, panic: type[BaseException]):
    """What no `except Exception` catches, as a panic in Rust, leaves a handle that says so."""

    class Torn:
        uri = "torn://store"

        def read_into(self, *_arguments: object) -> str:
            raise panic

    with Blobs.open(tmp_path.as_uri()) as blobs:
        blobs.store = Torn()
        with blobs.read("key", bytearray(3)) as handle, pytest.raises(OtherStoreError):
            handle.wait(20)
