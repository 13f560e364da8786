"""A million executions in the records: any page of the list, and how many more come in a second."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RECORDS = int(os.environ.get("LONG_RECORDS", "1000000"))
PAGES = int(os.environ.get("LONG_PAGES", "500"))
SUBMIT_SECONDS = float(os.environ.get("LONG_SUBMIT_SECONDS", "30"))

MOST_MILLISECONDS = 20.0
RATES = {"sqlite": 200, "postgres": 500}
"""How many executions a second are to be accepted, sustained."""


def benchmark(script: str, *options: str) -> list[dict[str, Any]]:
    """Run one of the benchmarks; return the rows of its table."""
    command = [sys.executable, str(BENCHMARKS / script), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_page_costs_the_same_wherever_it_is(database: str, figures: Callable[..., None]):
    """By any filter, of a million executions: 20 ms at most (p99), and the last page twice the first at most."""
    rows = benchmark("pages.py", "--only", database, "--records", str(RECORDS), "--pages", str(PAGES))
    for row in rows:
        figures(
            f"pages of {RECORDS:,} on {database}, {row['filter']}",
            **{name: f"{row[name]:.1f} ms" for name in ("first", "last", "p50", "p99")},
        )
    slow = {row["filter"]: row["p99"] for row in rows if row["p99"] > MOST_MILLISECONDS}
    assert not slow, f"p99 in ms: {slow}"
    uneven = {row["filter"]: (row["first"], row["last"]) for row in rows if row["last"] > 2 * row["first"]}
    assert not uneven, f"first and last page in ms: {uneven}"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_executions_are_accepted_fast(database: str, figures: Callable[..., None]):
    """Over HTTP, each with its job in the same transaction; all that was accepted is recorded."""
    rows = benchmark("submits.py", "--only", database, "--seconds", str(SUBMIT_SECONDS))
    for row in rows:
        figures(
            f"submissions on {database} with {row['processes']} API processes",
            accepted=row["accepted"],
            a_second=round(row["rate"]),
            slowest_second=row["slowest_second"],
            p50=f"{row['p50']:.0f} ms",
            p99=f"{row['p99']:.0f} ms",
        )
        assert row["errors"] == 0
    assert max(row["rate"] for row in rows) >= RATES[database]
