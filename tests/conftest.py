"""What every test may use: an environment without real credentials, and an S3 server on loopback."""

import gc
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from tests.databases import Postgres, database_url, postgres

from wildcast_server.wiring.child import MODULES
from wildcast_server.wiring.fork_server import ForkServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Postgres", "database_url", "postgres"]

# Fewer examples than by default (`--hypothesis-profile=default`): those of many tests add up to minutes. How fast they
# are made is the machine's affair.
hypothesis.settings.register_profile("quick", max_examples=30, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("quick")

os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
if "TEST_S3_BUCKET" not in os.environ:
    # The one that nobody signs with: no test trusts the Internet, and loading all who sign for it takes 50 ms.
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("nobody.pem"))
    # Before anything reads them: unless AWS is asked for, no test may find real credentials.
    os.environ["AWS_ACCESS_KEY_ID"] = "testing"
    os.environ["AWS_SECRET_ACCESS_KEY"] = "testing"
    for _name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        os.environ.pop(_name, None)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name functions by their names: their addresses differ between the processes that share the tests."""
    return getattr(val, "__qualname__", None) if callable(val) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before anything is deselected: what starts many processes does so by default on one kind of database."""
    for item in items:
        if item.get_closest_marker("long_on_postgres") and "postgres" in item.name.lower():
            item.add_marker(pytest.mark.long)


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over the tests themselves, and come less often: it took a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """What starts workers fast; it lives as long as this test process."""
    server = ForkServer(["wildcast_server.wiring.child", *MODULES["worker"]])
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of an S3-compatible server on loopback (moto), which lives as long as the session."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    server._server.app = _one_conditional_write_at_a_time(server._server.app)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _one_conditional_write_at_a_time(app: "WSGIApplication") -> "WSGIApplication":
    """Let one of several that create the same object win, as S3 does: moto looks first, and then writes."""
    lock = threading.Lock()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        is_write = environ["REQUEST_METHOD"] in ("PUT", "POST")
        with lock if is_write and "HTTP_IF_NONE_MATCH" in environ else nullcontext():
            return app(environ, start_response)

    return answer


@pytest.fixture
def bucket(s3_endpoint: str) -> str:
    """Name of a fresh bucket on that server."""
    import boto3

    name = f"test-{uuid.uuid4().hex[:16]}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    try:
        client.create_bucket(Bucket=name)
    finally:
        client.close()
    return name
