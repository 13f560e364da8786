"""How fast a directory gets into S3, beside s5cmd, multi-storage-client, boto3 and bare loops: ratios from one run.

    python benchmarks/publish_s3.py [--full] [--runs 5] [--works DIRECTORY] [--peers .venv-peers] [--delays 0 30]

The endpoint is `benchmarks/s3_endpoint.py` on loopback, a fresh one for every run, which lets each answer wait.
Contenders run in turn, each in a fresh process and at the setting that was fastest in one run before; what is shown
are medians. wildcast does everything: scan, checksums, upload, verification by LIST, manifest. Programs count from
start to end; of wildcast as a library, of other libraries, and of bare loops the imports are done before the clock
starts. CPU seconds are the client's alone.

The peers sign a body with its SHA-256 over plain HTTP, and over TLS they need not; wildcast and the bare loops do not
sign it to a loopback address either. "Bodies signed" is wildcast as it is over plain HTTP to anywhere else.

Without `--full`: work A, three runs, without multi-storage-client and boto3. With it: A and B, five runs, all peers;
boto3, at 10 to 15 seconds for A, three runs at most.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.contenders import (
    Contender,
    Peers,
    Setting,
    put_async,
    threads,
    wildcast,
    wildcast_command,
    wildcast_that_signs,
)
from harness.processes import Cost, medians
from harness.works import A, B, Work, places

REPOSITORY = Path(__file__).parent.parent
SLOW = "boto3"
SLOW_RUNS = 3
PARTS_OF_PUT_ASYNC = 12
"""Parts of one file that obstore's `put_async` sends at a time."""

LIBRARY, EQUAL = "publish_directory", "publish_directory, as many in flight"
COMMAND, SIGNED = "wildcast-server publish", "publish_directory, bodies signed"


@dataclass(frozen=True)
class Goal:
    """What a ratio of ours to another's is to be, at most."""

    ours: str
    other: str
    at_most: float | None
    """None if no goal is set, and the ratio is only shown."""
    with_cpu: bool = False
    """Whether it holds for CPU seconds too."""

    def judge(self, wall: float, cpu: float) -> str:
        """Say what the goal is, and whether it is met, as two cells of a table."""
        if self.at_most is None:
            return "| "
        met = wall <= self.at_most and (cpu <= self.at_most or not self.with_cpu)
        return f"{self.at_most}{' in both' if self.with_cpu else ' in wall time'} | {'met' if met else 'missed'}"


def goals(work: Work, delay_ms: float) -> list[Goal]:
    """Return those that are set for a work."""
    near = 0.4 if work is B else (0.5 if delay_ms == 0 else 0.6)
    common = [
        Goal(LIBRARY, "s5cmd", near, with_cpu=True),
        Goal(LIBRARY, "multi-storage-client", 0.3, with_cpu=True),
        Goal(LIBRARY, "multi-storage-client, library", None),
        Goal(SIGNED, "s5cmd", None),
        Goal(EQUAL, "obstore.put_async", 1.2),
        Goal(LIBRARY, "obstore.put_async", 1.2),
    ]
    of_a = [Goal(LIBRARY, SLOW, 0.1, with_cpu=True), Goal(COMMAND, "s5cmd", 0.9)]
    return common + (of_a if work is A else [])


def contenders(work: Work, delay_ms: float, peers: Peers, *, full: bool) -> list[Contender]:
    """Return all of them; the command and the bare loops are ours to run everywhere."""
    found = [
        Contender(LIBRARY, [wildcast("default")]),
        Contender(SIGNED, [wildcast_that_signs()]),
        Contender(COMMAND, [wildcast_command()]),
        put_async(work, delay_ms),
        threads(work, delay_ms),
    ]
    if peers:
        found.append(peers.s5cmd(work, delay_ms))
    if peers and full:
        found += [peers.multi_storage_client(), peers.multi_storage_library(), peers.boto3()]
    return found


@dataclass(frozen=True)
class Race:
    """One work at one delay."""

    work: Work
    directory: Path
    delay_ms: float
    home: Path

    def run(self, racers: Sequence[Contender], runs: int) -> dict[str, tuple[Setting, Cost]]:
        """Look for each one's best setting, then let them run in turn; return the medians."""
        settings = {racer.name: racer.best(self.work, self.directory, self.delay_ms, self.home) for racer in racers}
        settings[EQUAL] = self._equal(settings["obstore.put_async"])
        costs: dict[str, list[Cost]] = {name: [] for name in settings}
        for number in range(runs):
            for name, setting in settings.items():
                if name != SLOW or number < SLOW_RUNS:
                    costs[name].append(setting.run(self.work, self.directory, self.delay_ms, self.home))
        return {name: (settings[name], medians(each)) for name, each in costs.items()}

    def _equal(self, bare: Setting) -> Setting:
        at = int(bare.label) * (PARTS_OF_PUT_ASYNC if self.work is B else 1)
        return wildcast(f"max_concurrency {at}", "--set", f"object_storage.max_concurrency={at}")


def show_costs(costs: Mapping[str, tuple[Setting, Cost]]) -> None:
    """Print what each took."""
    print("| client | setting | wall, s | CPU, s | peak memory, MB | requests | CPU of the endpoint, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (setting, cost) in costs.items():
        times = f"{cost.seconds:.2f} | {cost.cpu:.2f} | {cost.peak / 1e6:.0f}"
        print(f"| {name} | {setting.label} | {times} | {cost.requests:,} | {cost.endpoint_cpu:.2f} |", flush=True)


def show_ratios(wanted: Sequence[Goal], costs: Mapping[str, tuple[Setting, Cost]]) -> None:
    """Print the ratios beside the goals."""
    print("\n| ratio | wall | CPU | goal | |\n| --- | --- | --- | --- | --- |")
    for goal in wanted:
        if goal.other not in costs:
            continue
        ours, other = costs[goal.ours][1], costs[goal.other][1]
        wall, cpu = ours.seconds / other.seconds, ours.cpu / other.cpu
        print(f"| {goal.ours} / {goal.other} | {wall:.2f} | {cpu:.2f} | {goal.judge(wall, cpu)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--works", type=Path, help="keep the files here (workA, workB)")
    parser.add_argument("--peers", type=Path, default=REPOSITORY / ".venv-peers")
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 30], help="in milliseconds")
    parser.add_argument("--only", choices=["A", "B"])
    arguments = parser.parse_args()
    runs = arguments.runs or (5 if arguments.full else 3)
    peers = Peers(arguments.peers)
    if not peers:
        print(f"No peers in {arguments.peers}: `make peers` installs them.\n")
    works = [work for work in ((A, B) if arguments.full else (A,)) if arguments.only in (None, work.name)]
    with places(arguments.works) as (directory, home):
        for work in works:
            files = work.make(directory)
            for delay in arguments.delays:
                print(f"{work}, {delay:g} ms, medians of {runs}:\n")
                race = Race(work, files, delay, home)
                costs = race.run(contenders(work, delay, peers, full=arguments.full), runs)
                show_costs(costs)
                show_ratios(goals(work, delay), costs)
                print(flush=True)


if __name__ == "__main__":
    main()
