"""The three engines side by side: obstore in Rust, boto3, and the AWS Common Runtime (CRT).

    python benchmarks/engines.py [--full] [--runs 5] [--works DIRECTORY] [--delays 0 30]

Each publishes the same directories with everything included, as `publish_s3.py` has it, and differs in settings alone.
Without `--full`: work A, once. With it: A and B, five runs (boto3 on A: two).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from harness.contenders import Setting, wildcast
from harness.processes import Cost, medians
from harness.works import A, B, Work, places

ENGINES: Mapping[str, tuple[str, ...]] = {
    "Rust": (),
    "boto3": ("--set", "object_storage.use_rust_client=false"),
    "CRT": ("--set", "object_storage.crt_min_limit=0"),
}
SLOW, SLOW_RUNS = "boto3", 2


def settings() -> dict[str, Setting]:
    """Return one way to publish for each engine."""
    return {name: wildcast(" ".join(options[1::2]) or "default", *options) for name, options in ENGINES.items()}


def compare(work: Work, directory: Path, delay_ms: float, runs: int, home: Path) -> dict[str, Cost]:
    """Let the engines publish in turn; return the medians."""
    costs: dict[str, list[Cost]] = {name: [] for name in ENGINES}
    for number in range(runs):
        for name, setting in settings().items():
            if name != SLOW or work is not A or number < SLOW_RUNS:
                costs[name].append(setting.run(work, directory, delay_ms, home))
    return {name: medians(each) for name, each in costs.items()}


def show(work: Work, delay_ms: float, costs: Mapping[str, Cost]) -> None:
    """Print the rows of one work at one delay."""
    rust = costs["Rust"]
    for name, cost in costs.items():
        times = f"{cost.seconds:.2f} | {cost.seconds / rust.seconds:.2f} | {cost.cpu:.2f} | {cost.peak / 1e6:.0f}"
        print(f"| {work} | {delay_ms:g} ms | {name} | {times} | {cost.requests:,} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--works", type=Path, help="keep the files here (workA, workB)")
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 30], help="in milliseconds")
    arguments = parser.parse_args()
    runs = arguments.runs or (5 if arguments.full else 1)
    print(f"Medians of {runs}:\n")
    print("| work | delay | engine | wall, s | of Rust | CPU, s | peak memory, MB | requests |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with places(arguments.works) as (directory, home):
        for work in (A, B) if arguments.full else (A,):
            files = work.make(directory)
            for delay in arguments.delays:
                show(work, delay, compare(work, files, delay, runs, home))


if __name__ == "__main__":
    main()
