"""Puts that are only begun: what every engine makes of them, and how a process ends that has begun some."""

import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from wildcast_server.errors import AccessDeniedError, InvalidKeyError, NetworkError, NoSuchBucketError
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.store import _begun as begun_module

Record = Callable[[list[Any]], Any]

ENGINES = [{}, {"use_rust_client": False}, {"crt_min_limit": 0}]
OK = (200, {"ETag": '"e"'}, b"")


@pytest.fixture(params=ENGINES, ids=["rust", "boto3", "crt"])
def engine(request: pytest.FixtureRequest) -> dict[str, object]:
    """The options that choose an engine for everything."""
    return request.param


def _put(store: ObjectStore, key: str = "key", data: bytes = b"x") -> tuple[str | None, BaseException | None]:
    """Begin to put, make the calls that are left, and return what came of it."""
    calls: SimpleQueue[Any] = SimpleQueue()
    ends: list[tuple[str | None, BaseException | None]] = []
    store.begin_put(key, data, None, lambda etag, error: ends.append((etag, error)), calls.put)
    while not ends:
        call, arguments = calls.get(timeout=20)
        call(*arguments)
    assert calls.empty()
    (end,) = ends
    return end


@pytest.mark.parametrize("data", [b"", bytes(100_000), bytes(600 << 10)], ids=["empty", "small", "600 KiB"])
def test_an_object_is_written(s3_endpoint: str, bucket: str, engine: dict[str, object], data: bytes):
    """What was begun is there once its end was told, with the ETag that the store gave."""
    store = open_store(f"s3://{bucket}/begun", StoreOptions(endpoint_url=s3_endpoint, **engine))
    etag, error = _put(store, "dir/a b+\u00fc", data)
    assert error is None
    assert store.get("dir/a b+\u00fc") == data
    assert store.head("dir/a b+\u00fc").etag == etag


def test_with_rust_nobody_waits(s3_endpoint: str, bucket: str):
    """Of the Rust client, the call returns at once, and ends are told by nobody but whoever makes the calls left."""
    store = open_store(f"s3://{bucket}/threads", StoreOptions(endpoint_url=s3_endpoint))
    assert store.begins_puts
    calls: SimpleQueue[Any] = SimpleQueue()
    ends: list[tuple[str | None, BaseException | None]] = []
    for number in range(20):
        store.begin_put(f"k{number}", b"x", None, lambda etag, error: ends.append((etag, error)), calls.put)
    left = [calls.get(timeout=20) for _ in range(20)]
    assert ends == []
    for call, arguments in left:
        call(*arguments)
    assert [error for _, error in ends] == [None] * 20
    assert len(list(store.list())) == 20


def test_a_busy_store_gets_its_time(record: Record, engine: dict[str, object]):
    """Who was asked for patience tries again, and counts it; the end is told once."""
    slow = (503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
    with record([slow, slow, OK]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, trust_checksums=True, **engine))
        assert _put(store) == ('"e"', None)
        # The Common Runtime's client repeats once by itself.
        assert 1 <= store.slow_downs == store.retries <= 2


def test_an_outage_ends_with_the_deadline(record: Record, engine: dict[str, object]):
    """A store that only fails ends in a `NetworkError` that names the object."""
    failed = (500, {}, b"<Error><Code>InternalError</Code></Error>")
    with record([failed] * 100) as recorder:
        options = StoreOptions(endpoint_url=recorder.url, trust_checksums=True, retry_deadline=0.3, **engine)
        _etag, error = _put(open_store("s3://bucket", options))
    assert isinstance(error, NetworkError)
    assert "s3://bucket/key" in str(error)


def test_a_refusal_is_not_repeated(record: Record, engine: dict[str, object]):
    """Access denied is told at once, as an error of ours."""
    with record([(403, {}, b"<Error><Code>AccessDenied</Code></Error>")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, trust_checksums=True, **engine))
        assert isinstance(_put(store)[1], AccessDeniedError)
        assert len(recorder.seen) == 1


def test_a_missing_bucket(s3_endpoint: str, engine: dict[str, object]):
    """There is nothing to write to, and the error says so."""
    store = open_store("s3://no-such-bucket-anywhere", StoreOptions(endpoint_url=s3_endpoint, **engine))
    assert isinstance(_put(store)[1], NoSuchBucketError)


def test_a_key_that_cannot_be(s3_endpoint: str, bucket: str, engine: dict[str, object]):
    """A key that leaves the store is refused before there is a request."""
    store = open_store(f"s3://{bucket}", StoreOptions(endpoint_url=s3_endpoint, **engine))
    with pytest.raises(InvalidKeyError):
        _put(store, "a/../../b")


ENDS_AT_ONCE = """
import sys
from queue import SimpleQueue
from wildcast_server.store import StoreOptions, open_store
store = open_store(sys.argv[1], StoreOptions(endpoint_url=sys.argv[2], trust_checksums=True))
calls, ends = SimpleQueue(), []
for number in range(int(sys.argv[3])):
    store.begin_put(f"k{number}", bytes(1000), None, lambda etag, error: ends.append(error), calls.put)
while len(ends) < int(sys.argv[3]):
    call, arguments = calls.get(timeout=20)
    call(*arguments)
assert ends == [None] * len(ends)
"""


@pytest.mark.parametrize("runs", [5, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_a_process_may_end_right_afterwards(s3_endpoint: str, bucket: str, runs: int):
    """An interpreter that ends the moment that the last end was told is not aborted by the driver's threads."""
    for number in range(runs):
        command = [sys.executable, "-c", ENDS_AT_ONCE, f"s3://{bucket}", s3_endpoint, str((1, 3, 40)[number % 3])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_the_process_waits_for_the_driver():
    """A thread of the driver that is still in our code is noticed, until it has left."""
    arrived, leave = Event(), Event()

    def later(_call: object) -> None:
        arrived.set()
        assert leave.wait(20)

    put = begun_module._Put(lambda *_: None, later)
    thread = threading.Thread(target=put.call_soon_threadsafe, args=(print,))
    thread.start()
    assert arrived.wait(20)
    assert begun_module._is_called_back()
    threading.Timer(0.05, leave.set).start()
    begun_module._settle()
    assert not begun_module._is_called_back()
    thread.join()


def test_errors_keep_their_cause(record: Record):
    """An error of ours names the driver's as its cause, as it does where one waits."""
    with record([(403, {}, b"<Error><Code>AccessDenied</Code></Error>")]) as recorder:
        store = open_store("s3://bucket", StoreOptions(endpoint_url=recorder.url, trust_checksums=True))
        _etag, error = _put(store)
    assert isinstance(error, AccessDeniedError)
    assert type(error.__cause__).__module__.startswith("obstore")


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({}, True),
        ({"use_rust_client": False}, False),
        ({"crt_min_limit": 1 << 20}, False),
        ({"crt_min_limit": 64 << 20}, True),
    ],
)
def test_who_begins(options: dict[str, object], *, begins: bool):
    """Where any small object would be sent by an engine that waits, all are sent by threads that wait."""
    store = open_store("s3://bucket", StoreOptions(endpoint_url="http://127.0.0.1:1", trust_checksums=True, **options))
    assert store.begins_puts is begins
