"""The metadata of a result with 100,000 files: how long its answer takes and how large it is, by Accept-Encoding.

    python benchmarks/results_metadata.py [--files 100000] [--runs 7]

The server is `wildcast-server serve`; a time is from sending the request to the answer's last byte, over one connection
on loopback. "Cold" is the first answer about a publication, for which its manifest is read from the store; then it is
at hand.
"""

import argparse
import http.client
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wildcast.contract.manifest import FileRow, Manifest, encode_manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.publish import Published
from wildcast_server.settings import Settings, load_settings
from wildcast_server.usecases.outcome import as_record
from wildcast_server.wiring.database import ensure_database, open_records
from wildcast_server.wiring.publishing import build_store

CODINGS = ("identity", "gzip", "zstd")
CHECKSUM, ETAG = "AAAAAAAAAAA=", '"0123456789abcdef0123456789abcdef"'


def complete(settings: Settings, name: str, files: int) -> None:
    """Record an execution that has published so many files, and write their manifest; it needs no files to be there."""
    rows = [
        FileRow(
            f"forecast.zarr/temperature/c/{each // 1000}/{each // 10 % 100}/{each % 10}", 20_000, CHECKSUM, ETAG, ""
        )
        for each in range(files)
    ]
    manifest = Manifest.of(rows, execution=name, attempt=1, created_at=utc_now(), verified="crc64nvme", datasets=())
    published = Published.of(manifest, f"outputs/{name}")
    build_store(settings).put(published.publication.manifest, encode_manifest(manifest))
    ensure_database(settings)
    records = open_records(settings)
    records.insert(Execution(id=name, workflow_name="forecast", parameters={}))
    records.change(name, expected=Status.QUEUED, to=Status.RUNNING, started_at=utc_now())
    records.change(name, expected=Status.RUNNING, to=Status.PENDING_RESULTS)
    record = as_record(published, 1)
    records.change(name, expected=Status.PENDING_RESULTS, to=Status.COMPLETED, ended_at=utc_now(), published=record)
    records.close()


@contextmanager
def service(directory: Path, values: dict[str, str]) -> Iterator[int]:
    """Run a server; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        port, edge_port = free.getsockname()[1], other.getsockname()[1]
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    ports = ["--port", str(port), "--edge-port", str(edge_port)]
    process = subprocess.Popen(
        [Path(sys.executable).parent / "wildcast-server", *options, "serve", *ports], cwd=directory
    )
    try:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not start")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def ask(connection: http.client.HTTPConnection, path: str, coding: str) -> tuple[float, int]:
    """Return the milliseconds and the bytes of one answer."""
    began = time.perf_counter()
    connection.request("GET", path, headers={"Accept-Encoding": coding})
    answer = connection.getresponse()
    size = len(answer.read())
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path} answered {answer.status}")
    return 1000 * (time.perf_counter() - began), size


def row(name: str, times: list[float], size: int) -> None:
    """Print one line of the table."""
    print(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} | {size / 1e6:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    print("| answer | median, ms | longest, ms | MB |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "workflows").mkdir()
        values = {
            "data_dir": f"{directory}/data",
            "workflows.directories": f"{directory}/workflows",
            "object_storage.enabled": "true",
            "log.level": "error",
        }
        settings = load_settings(values, environ={}, cwd=directory).settings
        ids = {coding: f"exec_{number}_00000000" for number, coding in enumerate(CODINGS, 1)}
        for execution in ids.values():
            complete(settings, execution, options.files)
        with service(directory, values) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            ask(connection, "/openapi.json", "identity")
            for coding, execution in ids.items():
                path = f"/v1/infer/forecast/{execution}/results"
                cold, size = ask(connection, path, coding)
                row(f"{coding}, cold", [cold], size)
                row(f"{coding}, at hand", [ask(connection, path, coding)[0] for _ in range(options.runs)], size)
            short = [ask(connection, f"{path}?files=none", "identity") for _ in range(options.runs)]
            row("`?files=none`", [each[0] for each in short], short[0][1])


if __name__ == "__main__":
    main()
