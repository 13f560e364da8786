"""How fast a result leaves as one archive, beside the same files one by one: over loopback, from another process.

    python benchmarks/archive.py [--runs 3]

The server is the API under uvicorn, the client a bare socket that throws away what it gets. All files are in the page
cache. Every byte's CRC64NVME is compared with the manifest on the way, and a zip's CRC-32 is computed.
"""

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wildcast.contract.status import ExecutionStatus
from wildcast_server.api import UseCases, create_api
from wildcast_server.api.actions import Actions
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.registry import Registry
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.publish import publish_in_place
from wildcast_server.records import MemoryRecords
from wildcast_server.store import open_store
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.sign import Sign
from wildcast_server.usecases.submit import Submit
from wildcast_server.wiring.serving import ServerThread, bind

WORKS = {"2 files of 512 MB": (2, 512_000_000), "20,000 files of 1 kB": (20_000, 1_000)}
ONE_BY_ONE = 2_000
"""Files that are asked for one by one, at most."""

BLOCK = bytes(range(256)) * 4096
BUFFER = bytearray(1 << 20)


def execution_of(number: int) -> str:
    """Name the execution of a work."""
    return f"exec_1_{number:08x}"


def make(directory: Path, files: int, size: int) -> None:
    """Write the files."""
    directory.mkdir()
    for number in range(files):
        with (directory / f"{number:05}").open("wb") as file:
            left = size
            while left:
                left -= file.write(BLOCK[: min(left, len(BLOCK))])


def serve(root: Path) -> None:
    """Serve what lies in `root` until the standard input ends; the port is printed."""
    records = MemoryRecords()
    for directory in sorted(root.iterdir()):
        records.insert(Execution(id=directory.name, workflow_name="w", parameters={}))
        path = (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS)
        records.change(directory.name, expected=path[0], to=path[1])
        records.change(directory.name, expected=path[1], to=path[2])
        record = as_record(publish_in_place(directory, directory.name), 1)
        records.change(directory.name, expected=path[2], to=ExecutionStatus.COMPLETED, published=record)
    lookup, workflows = Lookup(records), Registry()
    jobs = MemoryJobs()
    results = Results(lookup, {"server": open_store(root.as_uri())}, None)
    bound = bind("127.0.0.1", 0, "api")
    use_cases = UseCases(
        workflows=workflows,
        submit=Submit(workflows, records, jobs, root, 0),
        lookup=lookup,
        results=results,
        listing=ListExecutions(workflows, records),
        actions=Actions.of(lookup, records, jobs, Ending("server")),
        sign=Sign(lookup, results, None),
    )
    app = create_api(use_cases, max_body_bytes=1000)
    with ServerThread("API", app, bound):
        print(bound.getsockname()[1], flush=True)
        sys.stdin.read()


def fetch(connection: socket.socket, path: str) -> int:
    """Ask for a path, and throw away the body; return its length in bytes."""
    connection.sendall(f"GET /v1/infer/w/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    head, _, begun = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(head.decode())
    length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))[15:])
    left = length - len(begun)
    while left:
        received = connection.recv_into(BUFFER, min(left, len(BUFFER)))
        if not received:
            raise SystemExit("the server broke the connection")
        left -= received
    return length


def megabytes_a_second(ask: Callable[[], int]) -> float:
    """Time one call, which returns how many bytes it got."""
    began = time.perf_counter()
    got = ask()
    return got / (time.perf_counter() - began) / 1e6


def compare(port: int, execution: str, files: int, runs: int) -> tuple[float, float, float]:
    """Return the medians of zip, tar and single files, in MB/s, asked for in turn."""
    rates: dict[str, list[float]] = {"zip": [], "tar": [], "files": []}
    names = [f"{number:05}" for number in range(min(files, ONE_BY_ONE))]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(runs):
            for form in ("zip", "tar"):
                archive = f"{execution}/archive?format={form}"
                rates[form].append(megabytes_a_second(lambda archive=archive: fetch(connection, archive)))
            rates["files"].append(
                megabytes_a_second(lambda: sum(fetch(connection, f"{execution}/results/{name}") for name in names))
            )
    return statistics.median(rates["zip"]), statistics.median(rates["tar"]), statistics.median(rates["files"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    with tempfile.TemporaryDirectory() as root:
        for number, (files, size) in enumerate(WORKS.values()):
            make(Path(root) / execution_of(number), files, size)
        command = [sys.executable, __file__, "--serve", root]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None  # noqa: S101 - it is a pipe
            port = int(server.stdout.readline())
            print("| work | zip, MB/s | tar, MB/s | one by one, MB/s | zip / one by one |")
            print("| --- | --- | --- | --- | --- |")
            for number, (work, (files, _)) in enumerate(WORKS.items()):
                packed, tape, single = compare(port, execution_of(number), files, arguments.runs)
                print(f"| {work} | {packed:,.0f} | {tape:,.0f} | {single:,.0f} | {packed / single:.2f} |", flush=True)


if __name__ == "__main__":
    main()
