"""1,000 clients that ask once a second where their execution stands: latency, errors, and what it costs the server.

    python benchmarks/pollers.py [--pollers 1000] [--seconds 8]

The server is `wildcast-server serve`, one process; the clients are this process, with sockets that stay open in one row
and a new one for every request in the other. Nine in ten ask for `/status`, one for `/results`; each asks for an
execution of its own, of which one runs and the others wait. A latency counts from the moment at which the request was
due, so a server that falls behind cannot hide it.
"""

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

WORKFLOW = '''
import time
from wildcast_server import workflow


@workflow
def waits() -> None:
    """Take an hour."""
    time.sleep(3600)
'''

LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
PATIENCE = 10.0
"""Seconds after which an answer counts as an error."""


@contextmanager
def service(directory: Path) -> Iterator[tuple[str, int, int]]:
    """Run a server of one workflow; give its host, port and process id."""
    (directory / "workflows").mkdir()
    (directory / "workflows" / "waits.py").write_text(WORKFLOW)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = {
        "data_dir": directory / "data",
        "workflows.directories": directory / "workflows",
        "object_storage.enabled": "false",
        "results.min_free_disk_bytes": 0,
        "log.level": "warning",
    }
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    command = [Path(sys.executable).parent / "wildcast-server", *options, "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=directory)
    try:
        yield "127.0.0.1", port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def submit(host: str, port: int, number: int) -> list[str]:
    """Submit executions as soon as the server is there; return their ids."""
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
        deadline = time.monotonic() + 30
        while True:
            try:
                client.get("/liveness")
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        answers = [client.post("/v1/infer/waits", json={"parameters": {}}).raise_for_status() for _ in range(number)]
    return [answer.json()["execution_id"] for answer in answers]


@dataclass
class Outcome:
    """What all clients of one row met."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0

    def quantile(self, share: float) -> float:
        """Return the latency in milliseconds that `share` of the answers stay under."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


class Connection:
    """One socket; opened when it is first needed, and again after `close`."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def status(self, request: bytes) -> int:
        """Send a request, read the whole answer, return its status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        if length is None:
            raise ValueError("an answer without a length")
        await reader.readexactly(int(length[1]))
        return int(head[9:12])

    def close(self) -> None:
        """Close the socket."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def poll(connection: Connection, request: bytes, due: list[float], outcome: Outcome, *, keep: bool) -> None:
    """Send the request at each of the due moments."""
    for moment in due:
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        try:
            status = await asyncio.wait_for(connection.status(request), PATIENCE)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            status = 0
        if status not in (200, 202):
            outcome.errors += 1
            connection.close()
        else:
            outcome.seconds.append(time.perf_counter() - moment)
        if not keep:
            connection.close()
    connection.close()


async def measure(host: str, port: int, ids: list[str], seconds: int, *, keep: bool) -> Outcome:
    """Let one client for each id poll once a second, evenly spread over it."""
    outcome = Outcome()
    begin = time.perf_counter() + 1
    polls = []
    for number, name in enumerate(ids):
        path = f"/v1/infer/waits/{name}/{'results' if number % 10 == 9 else 'status'}"  # noqa: PLR2004 - one in ten
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
        request = "\r\n".join([*lines, *([] if keep else ["Connection: close"]), "", ""]).encode()
        due = [begin + number / len(ids) + second for second in range(seconds)]
        polls.append(poll(Connection(host, port), request, due, outcome, keep=keep))
    await asyncio.gather(*polls)
    return outcome


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pollers", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=8)
    options = parser.parse_args()
    print("| connections | requests | errors | p50, ms | p99, ms | longest, ms | CPU of the server, ms a request |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, service(Path(name)) as (host, port, process):
        ids = submit(host, port, options.pollers)
        for row, keep in (("kept open", True), ("a new one each time", False)):
            before = cpu_seconds(process)
            outcome = asyncio.run(measure(host, port, ids, options.seconds, keep=keep))
            requests = len(outcome.seconds) + outcome.errors
            cost = 1000 * (cpu_seconds(process) - before) / requests
            times = [outcome.quantile(at) for at in (0.5, 0.99, 1.0)]
            cells = [row, str(requests), str(outcome.errors), *(f"{each:.1f}" for each in times), f"{cost:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
