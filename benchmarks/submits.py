"""How many executions a second the API takes on, sustained, on SQLite and on Postgres.

    python benchmarks/submits.py [--seconds 30] [--connections 32] [--only sqlite] [--json]

The server is `wildcast-server api` alone, one process or two, with a real socket; nothing computes meanwhile. The
clients are this process, on the same two cores, each with a connection that stays open and one request at a time. What
was answered is compared with what the records have. Both databases write as they do by default: Postgres waits until a
commit is on the disk, SQLite for its write-ahead log.
"""

import argparse
import asyncio
import itertools
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil
from harness.databases import KINDS, database
from sqlalchemy import create_engine, text

WORKFLOW = '''
from wildcast_server import RunContext, workflow


@workflow
def forecast(context: RunContext, members: int = 10, start: str = "2026-01-01", variables: list[str] = []) -> None:
    """Is never run here."""
'''
BODY = json.dumps({"parameters": {"members": 20, "start": "2026-03-01", "variables": ["t2m", "u10m", "v10m"]}}).encode()
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
GOALS = {"sqlite": 200, "postgres": 500}
OK = 200
COLUMNS = (
    "database",
    "API processes",
    "accepted",
    "a second",
    "slowest second",
    "p50, ms",
    "p99, ms",
    "CPU of the API, ms each",
    "errors",
    "goal",
    "",
)


@dataclass(frozen=True)
class Row:
    """What one database and number of API processes gave."""

    database: str
    processes: int
    connections: int
    accepted: int
    seconds: float
    rate: float
    slowest_second: int
    """The fewest that were accepted in any whole second."""
    p50: float
    p99: float
    """In milliseconds."""
    cpu: float
    """Of the API's processes for each that was accepted, in milliseconds."""
    errors: int


@contextmanager
def api(directory: Path, url: str, number: int) -> Iterator[tuple[int, psutil.Process]]:
    """Run an API alone; give its port and process."""
    (directory / "workflows").mkdir(exist_ok=True)
    (directory / "workflows" / "forecast.py").write_text(WORKFLOW)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = {
        "data_dir": directory / "data",
        "database.url": url,
        "workflows.directories": directory / "workflows",
        "workflows.max_queued": 10_000_000,
        "object_storage.enabled": "false",
        "results.min_free_disk_bytes": 0,
        "log.level": "warning",
    }
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    command = [Path(sys.executable).parent / "wildcast-server", *options, "api", "--port", str(port)]
    with (directory / f"api-{number}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stderr=log)
    try:
        wait_for(port)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int) -> None:
    """Return when a server answers there."""
    deadline = time.monotonic() + 120
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/liveness")
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


async def submit(port: int, key: str, until: float, accepted: list[tuple[float, float]], errors: list[bytes]) -> None:
    """Submit one after the other until the time is over, each with a key of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in itertools.count():
        sent = time.perf_counter()
        if sent > until:
            break
        head = (
            f"POST /v1/infer/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {key}-{number}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        writer.write(head.encode() + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(answer)
        body = await reader.readexactly(int(length[1])) if length else b""
        if int(answer[9:12]) == OK:
            came = time.perf_counter()
            accepted.append((came, came - sent))
        else:
            errors.append(body)
    writer.close()


async def load(
    ports: Sequence[int], connections: int, seconds: float
) -> tuple[list[tuple[float, float]], list[bytes], float]:
    """Let every connection submit for so long."""
    accepted: list[tuple[float, float]] = []
    errors: list[bytes] = []
    began = time.perf_counter()
    tag = f"{time.time_ns():x}"
    await asyncio.gather(
        *(
            submit(ports[each % len(ports)], f"{tag}-{each}", began + seconds, accepted, errors)
            for each in range(connections)
        )
    )
    return accepted, errors, began


def measure(kind: str, processes: int, connections: int, seconds: float) -> Row:
    """Start everything, warm it up, and count."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database(kind))
        running = [stack.enter_context(api(directory, url, number)) for number in range(processes)]
        ports = [port for port, _ in running]
        warm, _, _ = asyncio.run(load(ports, connections, 2.0))
        before = cpu_seconds(process for _, process in running)
        accepted, errors, began = asyncio.run(load(ports, connections, seconds))
        cpu = cpu_seconds(process for _, process in running) - before
        recorded = count(url)
        if recorded != len(warm) + len(accepted):
            raise AssertionError(f"{len(warm) + len(accepted)} were accepted, {recorded} are recorded with a job")
        if errors:
            print(errors[0].decode(), file=sys.stderr)
        took = max(came for came, _ in accepted) - began
        each_second = [0] * int(seconds)
        for came, _ in accepted:
            if came - began < len(each_second):
                each_second[int(came - began)] += 1
        times = sorted(1000 * waited for _, waited in accepted)
        return Row(
            database=kind,
            processes=processes,
            connections=connections,
            accepted=len(accepted),
            seconds=took,
            rate=len(accepted) / took,
            slowest_second=min(each_second),
            p50=times[len(times) // 2],
            p99=times[int(0.99 * (len(times) - 1))],
            cpu=1000 * cpu / len(accepted),
            errors=len(errors),
        )


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU time that they have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def count(url: str) -> int:
    """Count the records that have a job."""
    engine = create_engine(url)
    jobs = "dbos.workflow_status" if engine.dialect.name == "postgresql" else "workflow_status"
    statement = f"SELECT count(*) FROM executions JOIN {jobs} ON workflow_uuid = executions.id || '.1'"  # noqa: S608
    with engine.connect() as connection:
        found = int(connection.execute(text(statement)).scalar_one())
    engine.dispose()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print(f"| {' | '.join(COLUMNS)} |")
        print(f"| --- | {'---: | ' * (len(COLUMNS) - 2)}--- |")
    for kind in [options.only] if options.only else KINDS:
        for processes in options.processes:
            row = measure(kind, processes, options.connections, options.seconds)
            if options.json:
                print(json.dumps(asdict(row)), flush=True)
                continue
            numbers = [f"{row.accepted:,}", f"{row.rate:.0f}", f"{row.slowest_second}"]
            cells = [
                kind,
                f"{processes}",
                *numbers,
                f"{row.p50:.0f}",
                f"{row.p99:.0f}",
                f"{row.cpu:.2f}",
                f"{row.errors}",
            ]
            met = "met" if row.rate >= GOALS[kind] else "missed"
            print(f"| {' | '.join([*cells, f'{GOALS[kind]}', met])} |", flush=True)


if __name__ == "__main__":
    main()
