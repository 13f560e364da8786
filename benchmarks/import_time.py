"""What `import wildcast` adds to the start of Python: medians of whole processes, from one run.

python benchmarks/import_time.py [--runs 15]
"""

import argparse
import statistics
import subprocess
import sys
import time

CODES = {
    "nothing": "pass",
    "import wildcast": "import wildcast",
    "from wildcast import Client": "from wildcast import Client",
    "numpy, for comparison": "import numpy",
}


def milliseconds(code: str) -> float:
    """Time one process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in CODES}
    for _ in range(runs):
        for name, code in CODES.items():
            times[name].append(milliseconds(code))
    bare = statistics.median(times["nothing"])
    print("| process | ms | more than nothing, ms |\n| --- | --- | --- |")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.0f} | {median - bare:.0f} |")


if __name__ == "__main__":
    main()
