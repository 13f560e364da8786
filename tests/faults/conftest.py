"""Endpoints that verify, proxies that spoil, and what publishes through them."""

import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from wildcast.contract.manifest import decode_manifest
from wildcast.contract.naming import MANIFEST_PATH
from wildcast_server.publish import Publisher
from wildcast_server.store import StoreOptions, open_store
from wildcast_server.transfer import Transfer

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary-secret"
"""Must never show up in a text."""
_FIGURES = pytest.StashKey[list[str]]()


class Endpoint:
    """A running S3 endpoint, and the questions that one asks it.

    Parameters
    ----------
    url
        Where it listens.
    stop
        Ends it.
    """

    def __init__(self, url: str, stop: Callable[[], None] = lambda: None) -> None:
        self.url = url
        self.stop = stop

    def ask(self, method: str, route: str) -> dict[str, Any]:
        """Ask a control route."""
        request = urllib.request.Request(f"{self.url}/{route}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stats(self) -> dict[str, Any]:
        return self.ask("GET", "_control/stats")

    def objects(self) -> dict[str, dict[str, Any]]:
        return self.ask("GET", "_control/objects")

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        with urllib.request.urlopen(f"{self.url}/_control/bodies/{quote(key)}", timeout=30) as answer:
            return answer.read()

    def switch(self, name: str, *, on: bool) -> None:
        self.ask("PUT", f"_control/switches?{name}={str(on).lower()}")


@contextmanager
def _serving(script: Path, *arguments: str) -> Iterator[str]:
    command = [sys.executable, str(script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def start_endpoint() -> Iterator[Callable[..., Endpoint]]:
    """Start an S3 endpoint with these options of ``benchmarks/s3_endpoint.py``; it checks unless it is ``null``."""
    with ExitStack() as stack:

        def start(*options: str, null: bool = False) -> Endpoint:
            script = ROOT / "benchmarks" / "s3_endpoint.py"
            one = stack.enter_context(ExitStack())
            return Endpoint(one.enter_context(_serving(script, *(() if null else ("--check",)), *options)), one.close)

        yield start


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """An S3 endpoint that checks, shared by a module's tests."""
    with _serving(ROOT / "benchmarks" / "s3_endpoint.py", "--check") as url:
        yield Endpoint(url)


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., Endpoint]]:
    """Start a fault proxy: ``start_proxy(url, "--errors", "0.1")``."""
    with ExitStack() as stack:

        def start(url: str, *options: str) -> Endpoint:
            return Endpoint(stack.enter_context(_serving(Path(__file__).with_name("fault_proxy.py"), url, *options)))

        yield start


class Publishers:
    """A process that publishes as told, and can be killed while it does.

    Parameters
    ----------
    process
        Runs ``publisher_process.py``.
    ledgers
        Where it keeps its ledgers.
    """

    def __init__(self, process: "subprocess.Popen[str]", ledgers: Path) -> None:
        self._process = process
        self.ledgers = ledgers

    def publish(
        self,
        directory: Path,
        failpoint: str | None = None,
        kill_after: float | None = None,
    ) -> dict[str, Any]:
        """Publish `directory` under its own name; return how that ended."""
        trial = {
            "directory": str(directory),
            "name": directory.name,
            "failpoint": failpoint,
            "kill_after": kill_after,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(trial) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the process that publishes has died"
        return json.loads(line)


@pytest.fixture
def start_publishers(tmp_path: Path) -> Iterator[Callable[[str], Publishers]]:
    """Start a process that publishes to an endpoint as ``wildcast-server publish`` does, in parts of 5 MiB."""
    with ExitStack() as stack:

        def start(url: str) -> Publishers:
            data = tmp_path / f"data-{url.rpartition(':')[2]}"
            settings = {
                "object_storage.bucket": "bucket",
                "object_storage.endpoint_url": url,
                "object_storage.multipart_chunksize": 5 << 20,
                "data_dir": str(data),
            }
            command = [sys.executable, str(Path(__file__).with_name("publisher_process.py")), json.dumps(settings)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path),
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return Publishers(process, data / "outputs" / ".transfers")

        yield start


class Work:
    """Makes directories to publish, and compares what an endpoint holds with them.

    Parameters
    ----------
    root
        Where to make them.
    seed
        Of their contents.
    """

    def __init__(self, root: Path, seed: int = 1) -> None:
        self._root = root
        self._seed = seed
        self._block = random.Random(seed).randbytes((5 << 20) + 1000)

    def make(self, name: str, *, small: int = 5, large: bool = False) -> Path:
        """Write a handful of small files, one of them empty and one of metadata, and perhaps one of two parts."""
        directory, numbers = self._root / name, random.Random(f"{self._seed} {name}")
        (directory / "nested").mkdir(parents=True)
        for number in range(small):
            (directory / "nested" / f"{number}").write_bytes(numbers.randbytes(numbers.randrange(1, 20_000)))
        (directory / "empty").touch()
        # Goes up last: a publisher takes it for a description of the others.
        (directory / ".zattrs").write_bytes(b'{"of": "' + name.encode() + b'"}')
        if large:
            start = numbers.randrange(500)
            (directory / "large").write_bytes(self._block[start:])
        return directory

    @staticmethod
    def assert_published(endpoint: Endpoint, directory: Path, prefix: str) -> None:
        """Assert that the endpoint holds the directory's files byte for byte, their manifest, and nothing else."""
        paths = sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())
        objects = endpoint.objects()
        below = sorted(key for key in objects if key.startswith(f"{prefix}/"))
        assert below == sorted(f"{prefix}/{path}" for path in [*paths, MANIFEST_PATH])
        manifest = decode_manifest(endpoint.read(f"{prefix}/{MANIFEST_PATH}"))
        assert [row.path for row in manifest.rows] == paths
        for row in manifest.rows:
            stored = endpoint.read(f"{prefix}/{row.path}")
            assert stored == (directory / row.path).read_bytes(), f"{row.path} is not what was published"
            assert objects[f"{prefix}/{row.path}"]["crc64nvme"] == row.crc64nvme


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """What makes directories to publish."""
    return Work(tmp_path / "work")


@pytest.fixture
def make_publisher(tmp_path: Path) -> Callable[..., Publisher]:
    """Make a publisher into an endpoint: ``make_publisher(url, concurrency=4, **store_options)``."""

    def make(url: str, *, concurrency: int = 4, ledgers: Path | None = None, **options: Any) -> Publisher:
        keys = {"access_key_id": "testing", "secret_access_key": CANARY, "response_timeout": 1.0, "part_size": 5 << 20}
        store = open_store("s3://bucket", StoreOptions(endpoint_url=url, scratch="outputs", **{**keys, **options}))
        transfer = Transfer(store, max_concurrency=concurrency, part_size=5 << 20)
        return Publisher(store, transfer, prefix="outputs", ledgers=ledgers or tmp_path / "ledgers")

    return make


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note figures that are printed when all tests are done: ``figures("kill -9", resumed="500 of 500")``."""

    def note(title: str, **values: object) -> None:
        line = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        request.config.stash.setdefault(_FIGURES, []).append(f"{title}: {line}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures that docs/benchmarks.md has of the faults."""
    lines = config.stash.get(_FIGURES, [])
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
