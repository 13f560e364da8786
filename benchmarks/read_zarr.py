"""How fast a zarr store is read through a signed URL, beside a blocking mapper and obstore: ratios from one run.

    python benchmarks/read_zarr.py [--runs 5] [--delays 20 100]

500 chunks of 100 kB, opened and loaded by xarray with default settings, each time in a fresh process whose imports are
done before the clock starts. The edge (`delayed_edge.py`) checks each signature, and lets each answer wait for so many
milliseconds; all contenders read from the same one, in turn. Shown are medians.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from harness.edges import BENCHMARKS, Edge, edge
from harness.processes import Cost, medians, run_driver

CHUNKS, SIZE = 500, 25_000
"""How many, and of how many float32 values: 100 kB."""

NAME = "chunks.zarr"
READER = BENCHMARKS / "peers" / "read_zarr.py"
OURS, URL, BLOCKING = "wildcast", "wildcast, bare URL", "blocking mapper, 6 threads"
OBSTORE = "obstore HTTPStore"
WAYS = {
    OURS: ["--with", "wildcast"],
    URL: ["--with", "url"],
    # CH
    BLOCKING: ["--with", "threads"],
    OBSTORE: ["--with", "obstore"],
    f"{OBSTORE}, 64 at a time": ["--with", "obstore", "--concurrency", "64"],
}
GOALS = {20.0: 8.0, 100.0: 9.0}
"""How many times faster than the blocking mapper, by the delay in milliseconds."""


def write(directory: Path) -> Path:
    """Write the store; return the directory to publish."""
    values = np.random.default_rng(1).normal(size=(CHUNKS, SIZE)).astype("float32")
    data = xr.Dataset({"x": (("chunk", "value"), values)})
    data.to_zarr(directory / NAME, zarr_format=3, encoding={"x": {"chunks": (1, SIZE), "compressors": None}})
    return directory


def read(at: Edge, metadata: Path, options: Sequence[str]) -> Cost:
    """Read once."""
    before = at.counts()["requests"]
    cost = run_driver([sys.executable, READER, metadata, NAME, *options], os.environ, at)
    return replace(cost, stats={"requests": at.counts()["requests"] - before})


def race(at: Edge, metadata: Path, runs: int) -> dict[str, Cost]:
    """Let all of them read in turn; return the medians."""
    costs: dict[str, list[Cost]] = {name: [] for name in WAYS}
    for _ in range(runs):
        for name, options in WAYS.items():
            costs[name].append(read(at, metadata, options))
    results = {cost.result for each in costs.values() for cost in each}
    if len(results) != 1:
        raise SystemExit(f"not all of them read the same: {results}")
    return {name: medians(each) for name, each in costs.items()}


def show(delay_ms: float, costs: dict[str, Cost]) -> None:
    """Print the table, and the ratios beside the goals."""
    print(f"\n{delay_ms:g} ms:\n\n| reader | wall, s | CPU, s | peak memory, MB | requests | CPU of the edge, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, cost in costs.items():
        times = f"{cost.seconds:.2f} | {cost.cpu:.2f} | {cost.peak / 1e6:.0f}"
        print(f"| {name} | {times} | {cost.requests} | {cost.endpoint_cpu:.2f} |", flush=True)
    faster = costs[BLOCKING].seconds / costs[OURS].seconds
    goal = GOALS.get(delay_ms)
    judged = "" if goal is None else f", goal {goal:g}: {'met' if faster >= goal else 'missed'}"
    obstore = min(costs[name].seconds for name in costs if name.startswith(OBSTORE))
    ratio = costs[OURS].seconds / obstore
    print(f"\n{faster:.1f} times faster than the blocking mapper{judged};", end=" ")
    print(f"{ratio:.2f} of obstore's time, goal 1: {'met' if ratio <= 1 else 'missed'}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--delays", type=float, nargs="*", default=[20.0, 100.0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "work").mkdir()
        work, port = write(root / "work"), None
        for delay_ms in options.delays:
            with edge(root / "data", delay_ms, port) as running:
                port = running.port
                metadata = root / "metadata.json"
                metadata.write_text(json.dumps(running.publish(work, "run")))
                show(delay_ms, race(running, metadata, options.runs))


if __name__ == "__main__":
    main()
