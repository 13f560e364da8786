"""What `max_concurrency: auto` finds, beside fixed numbers: elapsed time, and the number over time.

    python benchmarks/concurrency.py [--full] [--runs 5] [--works DIRECTORY] [--picture docs/concurrency.png]

Work A is published with everything included, as `publish_s3.py` has it, at 0, 30 and 100 ms a request. Without `--full`
once, and without the fixed 16, which takes 8 s and 25 s where requests wait.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from harness.contenders import wildcast
from harness.processes import Cost
from harness.works import A, places

AUTO = "auto"
DELAYS = (0.0, 30.0, 100.0)
GOAL = 1.15
"""Of the best fixed number's time, at most."""
COLOURS = ("#4477aa", "#228833", "#ee6677")


def race(directory: Path, delay_ms: float, choices: Sequence[str], runs: int, home: Path) -> dict[str, list[Cost]]:
    """Publish with each choice in turn."""
    costs: dict[str, list[Cost]] = {choice: [] for choice in choices}
    for _ in range(runs):
        for choice in choices:
            setting = wildcast(choice, "--limits", "--set", f"object_storage.max_concurrency={choice}")
            costs[choice].append(setting.run(A, directory, delay_ms, home))
    return costs


def show(delay_ms: float, costs: Mapping[str, Sequence[Cost]], choices: Sequence[str]) -> None:
    """Print the row of one delay."""
    times = {choice: median(cost.seconds for cost in costs[choice]) for choice in choices}
    ratio = times[AUTO] / min(seconds for choice, seconds in times.items() if choice != AUTO)
    cells = " | ".join(f"{times[choice]:.2f}" for choice in choices)
    verdict = "met" if ratio <= GOAL else "missed"
    print(f"| {delay_ms:g} ms | {cells} | {ratio:.2f} | {GOAL} | {verdict} |", flush=True)


def typical(costs: Sequence[Cost]) -> Cost:
    """Return the run in the middle."""
    return sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]


def draw(races: Mapping[float, Mapping[str, Sequence[Cost]]], choices: Sequence[str], picture: Path) -> None:
    """Draw elapsed times, and the number that `auto` allowed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    width = 0.8 / len(races)
    for number, (delay, costs) in enumerate(races.items()):
        places_of_bars = [place + (number - 1) * width for place in range(len(choices))]
        times = [median(cost.seconds for cost in costs[choice]) for choice in choices]
        left.bar(places_of_bars, times, width, color=COLOURS[number], label=f"{delay:g} ms")
        rows = typical(costs[AUTO]).result
        right.step(
            [seconds for seconds, _ in rows], [limit for _, limit in rows], where="post", color=COLOURS[number], lw=2
        )
    left.set(xticks=range(len(choices)), xticklabels=choices, ylabel="elapsed, s")
    left.set(xlabel="max_concurrency", title="4,000 files of 100 kB")
    left.legend(title="added to a request", fontsize="small")
    right.set(xscale="linear", yscale="log", xlabel="seconds since the start", ylabel="requests in flight, at most")
    right.set(title="what auto allows", yticks=[16, 32, 64, 128, 256], yticklabels=[16, 32, 64, 128, 256])
    right.set_ylim(8, 320)
    right.minorticks_off()
    FigureCanvasAgg(figure).print_figure(str(picture), dpi=90)


def main() -> None:
    """Print the table, and draw it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--works", type=Path, help="keep the files here (workA)")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    runs = arguments.runs or (5 if arguments.full else 1)
    choices = [AUTO, *(("16",) if arguments.full else ()), "64", "256"]
    print(f"{A}, seconds, medians of {runs}:\n")
    print(f"| added to a request | {' | '.join(choices)} | auto / best | goal | |")
    print("| --- " * (len(choices) + 4) + "|")
    races = {}
    with places(arguments.works) as (directory, home):
        files = A.make(directory)
        for delay in DELAYS:
            races[delay] = race(files, delay, choices, runs, home)
            show(delay, races[delay], choices)
    if arguments.picture:
        draw(races, choices, arguments.picture)


if __name__ == "__main__":
    main()
