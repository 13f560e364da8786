"""How long a result takes after its workflow's last byte: with live publishing and without.

    python benchmarks/publish_live.py [--full] [--runs 5] [--delay-ms 30] [--seconds 10]

A whole service (`wildcast-server serve`) is asked over HTTP to run a workflow that writes work A, 4,000 files of
100 kB, evenly over ten seconds. It publishes to the loopback endpoint of `publish_s3.py`, which lets each answer wait
for 30 ms. The clock starts when the workflow has closed its last file, and ends when the status is `completed`, asked
for every 10 ms. With and without run in turn. Without `--full` once each; with it five times.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from harness.contenders import BUCKET
from harness.endpoint import Endpoint, endpoint, environment
from harness.works import A

WORKFLOW = '''
import time
from pathlib import Path

from wildcast_server import RunContext, workflow


@workflow
def produces(context: RunContext, files: int, size: int, seconds: float, mark: Path) -> None:
    """Write files evenly over some seconds, then a mark that says when the last one was closed."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    began = time.monotonic()
    for number in range(files):
        time.sleep(max(0.0, began + seconds * (number + 1) / files - time.monotonic()))
        (context.output_directory / f"{number:05}").write_bytes(data)
    last = time.monotonic()
    written = mark.with_suffix(".partial")
    written.write_text(f"{last} {last - began}")
    written.rename(mark)
'''

GOAL = 0.5
"""Seconds with live publishing, at most."""
LOOK_EVERY = 0.01
PATIENCE = 120.0
"""Seconds."""


@contextmanager
def service(directory: Path, target: Endpoint, *, live: bool) -> Iterator[str]:
    """Run a server of one workflow; give its URL."""
    (directory / "workflows").mkdir()
    (directory / "workflows" / "produces.py").write_text(WORKFLOW)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = {
        "data_dir": directory / "data",
        "workflows.directories": directory / "workflows",
        "object_storage.enabled": "true",
        "object_storage.bucket": BUCKET,
        "object_storage.endpoint_url": target.url,
        "results.publish_live": str(live).lower(),
        "log.level": "warning",
    }
    options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    command = [Path(sys.executable).parent / "wildcast-server", *options, "serve", "--port", str(port), "--edge-port=0"]
    with subprocess.Popen(command, cwd=directory, env=environment(directory, target.url)) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def wait(look: Callable[[], Any]) -> Any:
    """Look until there is something; return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SystemExit("the service has not come to an end")
        time.sleep(LOOK_EVERY)
    return found


def lives(client: httpx.Client) -> bool:
    """Say whether the service answers."""
    try:
        return client.get("/liveness").is_success
    except httpx.TransportError:
        return False


def is_completed(client: httpx.Client, execution: str) -> bool:
    """Say whether the execution has come to its end."""
    status = client.get(f"/v1/infer/produces/{execution}/status").json()["status"]
    if status in ("failed", "cancelled"):
        raise SystemExit(f"the execution {status}: {client.get(f'/v1/infer/produces/{execution}/status').text}")
    return bool(status == "completed")


def seconds_after(delay_ms: float, seconds: float, *, live: bool) -> tuple[float, float]:
    """Run the workflow once; return the seconds from its last byte to its end, and those that it wrote for."""
    with tempfile.TemporaryDirectory() as name, endpoint(delay_ms) as target:
        mark = Path(name) / "mark"
        wanted = {"files": A.files, "size": A.size, "seconds": seconds, "mark": str(mark)}
        with service(Path(name), target, live=live) as url, httpx.Client(base_url=url, timeout=30) as client:
            wait(lambda: lives(client))
            answer = client.post("/v1/infer/produces", json={"parameters": wanted}).raise_for_status()
            execution = answer.json()["execution_id"]
            wait(lambda: mark.exists() or _failed_early(client, execution))
            wait(lambda: is_completed(client, execution))
            ended = time.monotonic()
            last, wrote = map(float, mark.read_text().split())
        stats = target.counts()
    if stats["objects"] < A.files or stats["bytes"] < A.bytes:
        raise SystemExit(f"only {stats['objects']} objects were published")
    return ended - last, wrote


def _failed_early(client: httpx.Client, execution: str) -> None:
    is_completed(client, execution)
    time.sleep(0.2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--delay-ms", type=float, default=30)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    runs = options.runs or (5 if options.full else 1)
    after: dict[bool, list[float]] = {True: [], False: []}
    wrote: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(runs):
        for live in (True, False):
            end, writing = seconds_after(options.delay_ms, options.seconds, live=live)
            after[live].append(end)
            wrote[live].append(writing)
    print(f"{A}, written over {options.seconds:g} s, {options.delay_ms:g} ms added to a request, medians of {runs}:\n")
    print("| live publishing | wrote for, s | last byte to completed, s | longest, s | goal | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for live, times in after.items():
        goal = f"{GOAL} | {'met' if median(times) <= GOAL else 'missed'}" if live else "| "
        row = f"{median(wrote[live]):.1f} | {median(times):.2f} | {max(times):.2f}"
        print(f"| {'on' if live else 'off'} | {row} | {goal} |")


if __name__ == "__main__":
    main()
