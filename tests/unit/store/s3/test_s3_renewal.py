"""Credentials that a store calls expired in the middle: renewed, and the request made again."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wildcast_server.store import ObjectStore, StoreOptions, open_store

ENDPOINT = Path(__file__).parents[4] / "benchmarks/s3_endpoint.py"
ENGINES = {"rust": {}, "boto3": {"use_rust_client": False}, "crt": {"crt_min_limit": 0}}
LIFE = 900

SCRIPT = """
cat "{0}/next"
cp "{0}/good" "{0}/next"
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    """URL of an endpoint whose access keys end."""
    command = [sys.executable, ENDPOINT, "--check", "--token-seconds", str(LIFE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


@pytest.fixture
def end_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make a profile hand out, once more, a key that has ended without saying so; after that one that lives."""
    now = int(time.time())

    def key(end: int) -> str:
        return f'{{"Version": 1, "AccessKeyId": "AK{end}", "SecretAccessKey": "s", "SessionToken": "t"}}'

    (tmp_path / "script").write_text(SCRIPT.format(tmp_path))
    (tmp_path / "good").write_text(key(now + LIFE - 60))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = /bin/sh {tmp_path}/script\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    def end() -> None:
        (tmp_path / "next").write_text(key(now - 10))

    end()
    return end


def _stream(store: ObjectStore) -> bytes:
    async def read() -> bytes:
        stream = await store.stream("there")
        return b"".join([bytes(chunk) async for chunk in stream.chunks])

    return asyncio.run(read())


def _read_into(store: ObjectStore) -> bytes:
    buffer = bytearray(5)
    store.read_into("there", memoryview(buffer))
    return bytes(buffer)


READS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("there") == b"bytes",
    "read_into": lambda store: _read_into(store) == b"bytes",
    "stream": lambda store: _stream(store) == b"bytes",
    "head": lambda store: store.head("there").size == 5,
    "list": lambda store: [info.key for info in store.list()] == ["there"],
    "full_checksum": lambda store: store.full_checksum("there") is None or True,
    "unfinished_uploads": lambda store: list(store.unfinished_uploads("")) == [],
    "delete": lambda store: store.delete("other") is None,
    "delete_prefix": lambda store: store.delete_prefix("other") == 0,
}


@pytest.mark.usefixtures("end_keys")
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_goes_on_with_others(
    strict: str, read: Callable[[ObjectStore], object], end_keys: Callable[[], None], request: pytest.FixtureRequest
):
    """Whatever is asked first with a key that has ended is asked again with the next."""
    uri = f"s3://bucket/{request.node.callspec.id}"
    open_store(uri, StoreOptions(endpoint_url=strict)).put("there", b"bytes")
    end_keys()
    assert read(open_store(uri, StoreOptions(endpoint_url=strict, retry_deadline=10)))


@pytest.mark.usefixtures("end_keys")
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_writing_goes_on_with_others(strict: str, engine: dict[str, object], request: pytest.FixtureRequest):
    """A write in one request by each engine."""
    uri = f"s3://bucket/{request.node.name}"
    store = open_store(uri, StoreOptions(endpoint_url=strict, retry_deadline=10, **engine))
    assert store.put("key", b"x") == store.head("key").etag


@pytest.mark.usefixtures("end_keys")
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_creating_goes_on_with_others(strict: str, engine: dict[str, object], request: pytest.FixtureRequest):
    """A conditional write as well: nothing of the first try is there to be in its way."""
    uri = f"s3://bucket/{request.node.name}"
    store = open_store(uri, StoreOptions(endpoint_url=strict, retry_deadline=10, **engine))
    assert store.put_if_absent("key", b"x") == store.head("key").etag


@pytest.mark.usefixtures("end_keys")
def test_a_second_end_is_met_like_the_first(strict: str, end_keys: Callable[[], None]):
    """Renewed ones that have ended as well are given up in their turn."""
    store = open_store("s3://bucket/twice", StoreOptions(endpoint_url=strict, retry_deadline=10))
    end_keys_again = iter([end_keys])
    renew = store.credentials.renew

    def renew_to_ended(before: float) -> bool:
        for end in end_keys_again:
            end()
        return renew(before)

    store.credentials.renew = renew_to_ended
    assert store.put("key", b"x")
