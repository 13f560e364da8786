"""What publishing to a local store costs beside copying the same files: ratios of medians, from one run.

    python benchmarks/publish_local.py [--runs 5]

Everything is included on publishing's side: scan, checksums, verification by reading back, the manifest.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wildcast_server.publish import Publisher
from wildcast_server.store import open_store
from wildcast_server.transfer import Transfer

WORKS = {"A: 4,000 files of 100 kB": (4_000, 100_000), "B: 2 files of 512 MB": (2, 512_000_000)}
BLOCK = bytes(range(256)) * 4096


def make(directory: Path, files: int, size: int) -> None:
    """Write the files; what is in them does not matter here."""
    directory.mkdir()
    for number in range(files):
        with (directory / f"{number:05}").open("wb") as file:
            left = size
            while left:
                left -= file.write(BLOCK[: min(left, len(BLOCK))])


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(source: Path, scratch: Path, runs: int) -> tuple[float, float]:
    """Return the medians of publishing and of copying, in seconds, each to a fresh place, in turn."""
    published, copied = [], []
    for run in range(runs):
        store = open_store((scratch / f"store{run}").as_uri())
        published.append(
            seconds(lambda store=store: Publisher(store, Transfer(store), prefix="").publish(source, "run"))
        )
        copied.append(seconds(lambda run=run: shutil.copytree(source, scratch / f"copy{run}")))
        shutil.rmtree(scratch / f"store{run}")
        shutil.rmtree(scratch / f"copy{run}")
    return statistics.median(published), statistics.median(copied)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print("| work | publish, s | copytree, s | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for number, (work, (files, size)) in enumerate(WORKS.items()):
            source = scratch / f"source{number}"
            make(source, files, size)
            published, copied = compare(source, scratch, runs)
            print(f"| {work} | {published:.2f} | {copied:.2f} | {published / copied:.2f} |", flush=True)


if __name__ == "__main__":
    main()
