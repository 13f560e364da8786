"""How fast a result is downloaded, beside aria2c from the same edge: ratios from one run.

    python benchmarks/downloads.py [--runs 3] [--delays 0 20] [--only small|large]

Small: 504 files of 100 kB; aria2c is given their URLs, ``-x16 -j64``. Large: one file of 2 GB in parallel ranges, of
aria2c ``-x16 -s16``. The edge (`delayed_edge.py`) checks each signature. wildcast reads the manifest, checks free
space, and compares each file's checksum with the manifest's; it is timed without its imports, and with them as a whole
process. aria2c, which is Debian's package of that name, checks nothing and is timed as a whole process.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.edges import BENCHMARKS, Edge, edge
from harness.processes import Cost, medians, run_driver, run_program
from harness.works import Work

SMALL = Work("small", 504, 100_000)
LARGE = Work("large", 1, 2_000_000_000)
DRIVER = BENCHMARKS / "peers" / "wildcast_download.py"
OURS, PROCESS, ARIA = "wildcast", "wildcast, whole process", "aria2c"


@dataclass(frozen=True)
class Published:
    """A publication behind an edge."""

    at: Edge
    metadata: Path
    urls: Path
    """One on each line."""

    @classmethod
    def of(cls, at: Edge, work: Path, root: Path) -> "Published":
        """Publish a directory."""
        told = at.publish(work, work.name)
        base, _, query = told["signed_url"].partition("/*?")
        names = [str(file["path"]).partition("/")[2] for file in told["output_files"]]
        metadata, urls = root / "metadata.json", root / "urls"
        metadata.write_text(json.dumps(told))
        urls.write_text("".join(f"{base}/{name}?{query}\n  out={name}\n" for name in names))
        return cls(at, metadata, urls)


def with_wildcast(published: Published, target: Path) -> Cost:
    """By `Result.download`."""
    return run_driver([sys.executable, DRIVER, published.metadata, target], os.environ, published.at)


def with_process(published: Published, target: Path) -> Cost:
    """Count its imports as well."""
    program = f"echo | exec {sys.executable} {DRIVER} {published.metadata} {target}"
    return run_program(["sh", "-c", program], os.environ, published.at)


def with_aria(published: Published, target: Path) -> Cost:
    """By aria2c."""
    program = shutil.which("aria2c") or "aria2c"
    options = ["-x16", "-s16", "-j64", "--file-allocation=none", "--quiet", f"--dir={target}"]
    return run_program([program, *options, f"--input-file={published.urls}"], os.environ, published.at)


WAYS: dict[str, Callable[[Published, Path], Cost]] = {OURS: with_wildcast, PROCESS: with_process, ARIA: with_aria}


def race(published: Published, work: Work, root: Path, runs: int) -> dict[str, Cost]:
    """Let all download in turn, each into an empty directory; return the medians."""
    costs: dict[str, list[Cost]] = {name: [] for name in WAYS}
    for _ in range(runs):
        for name, download in WAYS.items():
            target = root / "target"
            before = published.at.counts()["requests"]
            cost = download(published, target)
            costs[name].append(replace(cost, stats={"requests": published.at.counts()["requests"] - before}))
            if sum(file.stat().st_size for file in target.iterdir()) != work.bytes:
                raise SystemExit(f"{name} did not download {work}")
            shutil.rmtree(target)
    return {name: medians(each) for name, each in costs.items()}


def show(work: Work, delay_ms: float, costs: dict[str, Cost]) -> None:
    """Print the table and the ratio."""
    print(f"\n{work}, {delay_ms:g} ms:\n\n| program | wall, s | CPU, s | peak memory, MB | requests |")
    print("| --- | --- | --- | --- | --- |")
    for name, cost in costs.items():
        # The shell's memory, in front of a whole process, says nothing.
        peak = "" if name == PROCESS else f"{cost.peak / 1e6:.0f}"
        print(f"| {name} | {cost.seconds:.2f} | {cost.cpu:.2f} | {peak} | {cost.requests} |")
    for name in (OURS, PROCESS):
        ratio = costs[name].seconds / costs[ARIA].seconds
        print(f"\n{name}: {ratio:.2f} of aria2c's time, goal 1: {'met' if ratio <= 1 else 'missed'}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delays", type=float, nargs="*", default=[0.0, 20.0])
    parser.add_argument("--only", choices=["small", "large"])
    options = parser.parse_args()
    works = [work for work in (SMALL, LARGE) if options.only in (None, work.name)]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for work in works:
            directory, port = work.make(root), None
            for delay_ms in options.delays:
                with edge(root / "data", delay_ms, port) as running:
                    port = running.port
                    show(work, delay_ms, race(Published.of(running, directory, root), work, root, options.runs))


if __name__ == "__main__":
    main()
