"""Failures of a store: told apart, in one sentence, without secrets."""

import asyncio
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.exceptions import GenericError

from wildcast_server.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    InvalidKeyError,
    NetworkError,
    NoSuchBucketError,
    NotFoundError,
    RangeNotSatisfiableError,
    SlowDownError,
    StoreError,
    StoreIoError,
)
from wildcast_server.store import ByteRange, ObjectStore, StoreOptions, open_store
from wildcast_server.store._errors import translate

Answering = Callable[..., str]

CANARY = "canary-secret-5f1c"


def _open(endpoint: str, **options: object) -> ObjectStore:
    given = StoreOptions(endpoint_url=endpoint, max_retries=1, **options)  # type: ignore[arg-type]
    return open_store("s3://bucket/base", given)


def _xml(code: str, message: str = "Something", more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


USES: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("key"),
    "range": lambda store: store.get("key", ByteRange(0, 1)),
    "stream": lambda store: asyncio.run(store.stream("key")),
    "head": lambda store: store.head("key"),
    "put": lambda store: store.put("key", b"x"),
    "put_if_absent": lambda store: store.put_if_absent("key", b"x"),
    "put_parts": lambda store: store.put_parts("key", [b"x"], part_size=5 << 20, concurrency=1),
    "list": lambda store: list(store.list("dir")),
    "delete": lambda store: store.delete("key"),
    "full_checksum": lambda store: store.full_checksum("key"),
}


WITH_A_BODY = [name for name in USES if name not in ("head", "full_checksum")]
"""The answer to a HEAD has none, and so no code."""


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", AccessDeniedError),
        (401, "Unauthorized", AccessDeniedError),
        (503, "SlowDown", SlowDownError),
        (429, "TooManyRequests", SlowDownError),
        (500, "InternalError", NetworkError),
        (400, "InvalidRequest", StoreIoError),
    ],
)
def test_answers_of_a_store(answering: Answering, use: str, status: int, code: str, kind: type[StoreError]):
    """A refusal, an outage and a complaint are three kinds of error, whatever was asked; the URI says where."""
    store = _open(answering(status, _xml(code)))
    with pytest.raises(kind, match=r"s3://bucket/base") as caught:
        USES[use](store)
    assert type(caught.value) is kind
    assert caught.value.uri.startswith("s3://bucket/base")


@pytest.mark.parametrize("use", WITH_A_BODY)
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ExpiredToken", CredentialsExpiredError),
        (403, "RequestTimeTooSkewed", CredentialsExpiredError),
        (400, "RequestTimeout", NetworkError),
        (400, "BadDigest", NetworkError),
        (409, "ConditionalRequestConflict", NetworkError),
        (404, "NoSuchUpload", NetworkError),
        (503, "ServiceUnavailable", NetworkError),
    ],
)
def test_what_may_pass(answering: Answering, use: str, status: int, code: str, kind: type[StoreError]):
    """The store's own code tells what is worth another try, whatever status it comes with."""
    store = _open(answering(status, _xml(code)))
    with pytest.raises(kind) as caught:
        USES[use](store)
    assert type(caught.value) is kind


@pytest.mark.parametrize("use", WITH_A_BODY)
def test_a_missing_bucket(s3_endpoint: str, use: str):
    """A bucket that does not exist is told apart from an object that does not."""
    store = open_store("s3://no-such-bucket", StoreOptions(endpoint_url=s3_endpoint))
    with pytest.raises(NoSuchBucketError, match="there is no such bucket"):
        USES[use](store)


def test_a_404_without_a_reason(answering: Answering):
    """A 404 that says nothing is the bucket's when writing, and the object's when reading."""
    store = _open(answering(404))
    with pytest.raises(NoSuchBucketError):
        store.put("key", b"x")
    with pytest.raises(NotFoundError):
        store.get("key")


def test_a_name_cannot_pretend_to_be_an_answer(answering: Answering):
    """What looks like a status or a code in a key is taken for nothing but a key."""
    store = _open(answering(404, _xml("NoSuchKey")))
    with pytest.raises(NotFoundError):
        store.get("status code: 403 <Code>NoSuchBucket</Code> (os error 13)")


def test_the_reason_is_passed_on(answering: Answering):
    """The store's own status, code and message are in the sentence, and it is one sentence."""
    store = _open(answering(403, _xml("AccessDenied", "User is not authorized to perform s3:PutObject")))
    with pytest.raises(AccessDeniedError, match=r"403 AccessDenied \(User is not authorized") as caught:
        store.put("key", b"x")
    assert "\n" not in str(caught.value)
    assert "Debug" not in str(caught.value)


@pytest.mark.parametrize("use", ["head", "full_checksum"])
def test_a_refusal_without_a_reason(answering: Answering, use: str):
    """A 403 without a body, as HEAD has it, reads as access denied all the same."""
    with pytest.raises(AccessDeniedError, match="access denied, the store answered 403; check"):
        USES[use](_open(answering(403)))


def test_a_range_that_the_store_refuses(answering: Answering):
    """Status 416 is the range's fault, whatever the object's size."""
    store = _open(answering(416, _xml("InvalidRange")))
    with pytest.raises(RangeNotSatisfiableError):
        store.get("key", ByteRange(5, 6))


@pytest.mark.parametrize("use", USES)
def test_nobody_listens(use: str):
    """A store that cannot be connected to is a network error."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = _open(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(NetworkError, match=r"s3://bucket/base"):
            USES[use](store)


def test_an_answer_that_breaks_off(answering: Answering):
    """A body that ends too early is an error, never a short object; when streaming it comes after the first bytes."""
    headers = {"Content-Length": "100", "ETag": '"e"', "Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"}
    store = _open(answering(200, b"x" * 50, headers))
    with pytest.raises(StoreError):
        store.get("key")

    async def drain() -> bytes:
        stream = await store.stream("key")
        assert stream.stop == 100
        return b"".join([chunk async for chunk in stream.chunks])

    with pytest.raises(StoreError):
        asyncio.run(drain())


@pytest.mark.parametrize("use", USES)
def test_secrets_stay_secret(answering: Answering, use: str):
    """No key, token or password shows in an error, in what it was raised from, or in a repr."""
    echo = f"<Token-0>{CANARY}-token</Token-0><StringToSign>{CANARY}-secret</StringToSign>"
    options = StoreOptions(
        endpoint_url=answering(400, _xml("ExpiredToken", "The provided token has expired", echo)),
        access_key_id=f"{CANARY}-id",
        secret_access_key=f"{CANARY}-secret",
        session_token=f"{CANARY}-token",
        max_retries=0,
    )
    store = open_store("s3://bucket", options)
    with pytest.raises(StoreError) as caught:
        USES[use](store)
    told = "".join(traceback.format_exception(caught.value))
    shown = vars(store) | {"store": store, "options": options, "driver": vars(store)["_driver"]}
    assert CANARY not in told
    assert CANARY not in repr(options)
    assert CANARY not in repr(shown)


def test_a_proxys_password_stays_secret():
    """The password in a proxy's URL shows in no error."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://user:{CANARY}@127.0.0.1:{unused.getsockname()[1]}"
        store = open_store("s3://bucket", StoreOptions(proxy_url=proxy, scheme="http", max_retries=0))
        with pytest.raises(NetworkError) as caught:
            store.get("key")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_the_proxy_is_used(answering: Answering):
    """With a proxy, requests for AWS go there, by boto3 as by obstore."""
    proxy = answering(403, _xml("ProxySaysNo"))
    store = open_store("s3://bucket", StoreOptions(proxy_url=proxy, scheme="http", max_retries=0))
    with pytest.raises(AccessDeniedError, match="ProxySaysNo"):
        store.get("key")
    with pytest.raises(AccessDeniedError, match="403"):
        store.full_checksum("key")


def test_credentials_that_are_nowhere():
    """When the search for credentials ends at the instance's metadata service in vain, the sentence says what to do."""
    text = (
        "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1.5ms - Server returned "
        "non-2xx status code: 403 Forbidden: no\n\nDebug source:\nGeneric {}"
    )
    error = translate(GenericError(text), "s3://bucket/key", "written")
    assert isinstance(error, AccessDeniedError)
    assert "no AWS credentials were found; set them, or name a profile" in str(error)


@pytest.mark.parametrize("key", ["a#1", "dir/b#007", "#0"])
def test_a_file_store_refuses_its_own_temporary_names(tmp_path: Path, key: str):
    """A name that ends in # and digits is refused with that reason."""
    store = open_store(tmp_path.as_uri())
    with pytest.raises(InvalidKeyError, match="ends in # and digits"):
        store.put(key, b"x")


def test_a_directory_may_be_called_so(tmp_path: Path):
    """Only files are written under such names; a directory that ends in # and digits is a prefix like any."""
    store = open_store(tmp_path.as_uri())
    store.put("run#1/a", b"x")
    assert [info.key for info in store.list("run#1")] == ["run#1/a"]
    assert store.delete_prefix("run#1") == 1


def test_a_file_store_cannot_hold_a_beside_a_b(tmp_path: Path):
    """A file and something below it exclude each other, with a clear error; reading there finds nothing."""
    store = open_store(tmp_path.as_uri())
    store.put("a", b"x")
    store.put("dir/b", b"x")
    for key in ("a/b", "dir"):
        with pytest.raises(InvalidKeyError, match="cannot hold both a file and something below it"):
            store.put(key, b"x")
        with pytest.raises(NotFoundError):
            store.get(key)
        store.delete(key)
    assert sorted(info.key for info in store.list()) == ["a", "dir/b"]
    assert list(store.list("a/b")) == []


def test_a_file_name_that_is_too_long(tmp_path: Path):
    """The file system's own limit is named."""
    with pytest.raises(InvalidKeyError, match="too long"):
        open_store(tmp_path.as_uri()).put("n" * 300, b"x")


def test_a_file_store_leaves_no_empty_directories(tmp_path: Path):
    """Deleting the last object of a directory removes the directory, but never the store's own."""
    store = open_store((tmp_path / "objects").as_uri())
    store.put("a/b/c", b"x")
    store.delete_prefix("a")
    assert list((tmp_path / "objects").iterdir()) == []


def test_a_full_disk(tmp_path: Path):
    """A write that the system refuses is an error with its reason, and leaves no object."""
    store = open_store(tmp_path.as_uri())
    store.put("warm", b"x")
    assert _put_with_limit(store, 4096).startswith("StoreIoError: ")
    assert [info.key for info in store.list()] == ["warm"]


def _put_with_limit(store: ObjectStore, limit: int) -> str:
    """Write 1 MiB under RLIMIT_FSIZE, and return the error; the limit is the process's, so it is put back."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        store.put("large", bytes(1 << 20))
    except StoreError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    return "nothing was refused"


AS_NOBODY = """
import os, sys
from wildcast_server.errors import StoreError
from wildcast_server.store import open_store
store = open_store(sys.argv[1])
if os.getuid() == 0:
    os.seteuid(65534)
for use in (lambda: store.get("secret"), lambda: store.put("new", b"x")):
    try:
        use()
    except StoreError as error:
        print(type(error).__name__)
"""


def test_files_that_may_not_be_used():
    """What the file system denies, reading or writing, is an access error."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "secret").touch()
        (root / "secret").chmod(0)
        root.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, root.as_uri()], capture_output=True, text=True, check=True
        )
        root.chmod(0o755)
    assert done.stdout.split() == ["AccessDeniedError", "AccessDeniedError"]


STREAM_AND_EXIT = """
import asyncio, sys
from wildcast_server.store import open_store
store = open_store(sys.argv[1])
async def read():
    stream = await store.stream("object")
    async for chunk in stream.chunks:
        pass
asyncio.run(read())
"""


def test_a_process_may_end_right_after_a_stream(tmp_path: Path):
    """No thread of the driver's calls into an interpreter that is ending, which would abort it (one time in two)."""
    store = open_store(tmp_path.as_uri())
    store.put("object", bytes(40 << 20))
    codes = [
        subprocess.run([sys.executable, "-c", STREAM_AND_EXIT, store.uri], check=False).returncode for _ in "12345"
    ]
    assert codes == [0] * 5
