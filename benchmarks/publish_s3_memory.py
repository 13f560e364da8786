"""What publishing to S3 takes of memory: many small files, and one that is larger than memory.

    python benchmarks/publish_s3_memory.py [--full] [--works DIRECTORY]

Peak resident memory of a process that publishes with default settings and everything included, against the endpoint of
`publish_s3.py` at 0 ms. The endpoint counts how often each key was written.
With `--full` 100,000 files of 4 kB and one of 20 GB; without, a tenth of each. The
large file is a hole, so it takes no disk.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from harness.contenders import wildcast
from harness.works import Work, places, sparse

GOAL = 300_000_000
"""Bytes for 100,000 files, at most."""


@dataclass(frozen=True)
class Case:
    """Something to publish."""

    work: Work
    directory: Path

    def show(self, home: Path, beside: int | None = None) -> int:
        """Publish it, print the row, return the peak in bytes."""
        cost = wildcast("default").run(self.work, self.directory, 0, home)
        extra = self._verdict(cost.peak, beside)
        stats = cost.stats
        once = "each key once" if not stats["puts_over_one"] else f"{len(stats['puts_over_one'])} keys again"
        left = len(stats["unfinished_uploads"])
        print(
            f"| {self.work} | {cost.seconds:.1f} | {cost.cpu:.1f} | {cost.peak / 1e6:.0f} | {extra} "
            f"| {stats['objects']:,} | {once}, {left} uploads unfinished |",
            flush=True,
        )
        return cost.peak

    def _verdict(self, peak: int, beside: int | None) -> str:
        if beside is not None:
            return f"{peak / beside:.2f} x that of the small one"
        if self.work.files > 1:
            return f"under {GOAL / 1e6:.0f} MB: {'met' if peak < GOAL else 'missed'}"
        return ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--works", type=Path, help="keep the small files here")
    arguments = parser.parse_args()
    scale = 1 if arguments.full else 10
    many = Work("C", 100_000 // scale, 4_000)
    small, large = Work("small", 1, 200_000_000), Work("large", 1, 20_000_000_000 // scale)
    print("| work | wall, s | CPU, s | peak memory, MB | goal | objects | written |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with places(arguments.works) as (directory, home):
        Case(many, many.make(directory)).show(home)
        beside = Case(small, sparse(home, small.name, small.size)).show(home)
        Case(large, sparse(home, large.name, large.size)).show(home, beside)


if __name__ == "__main__":
    main()
