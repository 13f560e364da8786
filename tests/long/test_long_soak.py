"""The embedded service under load for minutes: what it takes of the machine does not grow."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

import httpx
import psutil
import pytest
from tests.long.processes import Program, Submitter, eventually, free_port, rows

SECONDS = float(os.environ.get("LONG_SOAK_SECONDS", "600"))
SETTLED = float(os.environ.get("LONG_SOAK_SETTLED", "120"))
"""From when on nothing may grow, in seconds."""

IN_FLIGHT = 50
MOST_GROWTH = 0.05
MOST_DESCRIPTORS = 10
LOOK_EVERY = 5.0


@dataclass
class Usage:
    """What the processes of a service take, by what they are, over time."""

    service: Program
    samples: dict[str, list[tuple[float, int, int]]] = field(default_factory=lambda: defaultdict(list))
    """By role: when, bytes of memory that are its own or its share, descriptors."""

    def look(self, moment: float) -> None:
        """Take a sample."""
        for role, processes in self.service.members().items():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    self.samples[role].append((moment, pss(process.pid), process.num_fds()))

    def between(self, role: str, first: float, last: float) -> tuple[float, float]:
        """Return the medians of memory and descriptors in that time."""
        chosen = [sample[1:] for sample in self.samples[role] if first <= sample[0] <= last]
        return median(memory for memory, _ in chosen), median(number for _, number in chosen)


def pss(pid: int) -> int:
    """Return a process's memory in bytes, each page that it shares in equal parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not tell")


class Clients:
    """Clients that keep so many executions in flight, and look at them as users do.

    Parameters
    ----------
    url
        Of the API.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.open: list[str] = []
        self.completed = 0
        self.fewest_in_flight = IN_FLIGHT
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._keep, args=(work,), daemon=True) for work in (self._turn, self._read)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _keep(self, work: Callable[[Submitter], None]) -> None:
        submitter = Submitter(self._url)
        try:
            while not self._over.wait(0.1):
                work(submitter)
        except BaseException as error:  # noqa: BLE001 - told at the end
            self.errors.append(error)
        finally:
            submitter.close()

    def _turn(self, submitter: Submitter) -> None:
        """Put new executions in the place of those that have ended."""
        ended = []
        for execution_id in self.open[:5]:
            status = submitter.status(execution_id)["status"]
            assert status in ("queued", "running", "pending_results", "completed"), status
            if status == "completed":
                ended.append(execution_id)
        with self._lock:
            self.open = [each for each in self.open if each not in ended]
        if self.completed > IN_FLIGHT:
            self.fewest_in_flight = min(self.fewest_in_flight, len(self.open))
        self.completed += len(ended)
        while len(self.open) < IN_FLIGHT and not self._over.is_set():
            key = f"{time.time_ns():x}"
            execution_id = submitter.submit(key, seconds=0.1)
            with self._lock:
                self.open.append(execution_id)

    def _read(self, submitter: Submitter) -> None:
        """Read the list, the results of what was completed, and a stream of events for a moment."""
        listed = submitter.ask("GET", "/v1/infer?status=completed&limit=5")
        for found in listed["executions"][:2]:
            submitter.ask("GET", f"/v1/infer/writes/{found['execution_id']}/results")
        with self._lock:
            waiting = self.open[:1]
        for execution_id in waiting:
            with (
                suppress(httpx.TransportError),
                httpx.stream("GET", f"{self._url}/v1/infer/writes/{execution_id}/events", timeout=5) as answer,
            ):
                for number, _ in enumerate(answer.iter_lines()):
                    if number > 3:
                        break


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_grows_under_load(
    start: Callable[..., Program],
    settings: Callable[..., dict[str, Any]],
    tmp_path: Path,
    figures: Callable[..., None],
):
    """With 50 executions in flight: memory after minute two grows by 5 % at most, descriptors by 10."""
    port, url = free_port(), f"sqlite:///{tmp_path / 'wildcast.sqlite'}"
    service = start("serve", ["serve", "--port", str(port), "--edge-port", str(free_port())], settings(url))
    eventually(lambda: "API " in service.log(), 180)
    usage, began = Usage(service), time.monotonic()
    with Clients(f"http://127.0.0.1:{port}") as clients:
        while (moment := time.monotonic() - began) < SECONDS:
            usage.look(moment)
            assert not clients.errors, clients.errors
            time.sleep(LOOK_EVERY)
    failed = next(rows(url, "SELECT count(*) FROM executions WHERE status IN ('failed', 'cancelled', 'expired')"))[0]
    window = min(60.0, SETTLED / 2)
    totals, growths = [0.0, 0.0], {}
    for role in sorted(usage.samples):
        before, descriptors = usage.between(role, SETTLED, SETTLED + window)
        after, descriptors_after = usage.between(role, SECONDS - window, SECONDS)
        totals = [totals[0] + before, totals[1] + after]
        growths[role] = (after / before - 1, descriptors_after - descriptors)
        figures(
            f"soak, {role}",
            memory=f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB",
            growth=f"{100 * (after / before - 1):+.1f} %",
            descriptors=f"{descriptors:g}, then {descriptors_after:g}",
        )
    figures(
        "soak, all processes",
        seconds=round(SECONDS),
        completed=clients.completed,
        fewest_in_flight=clients.fewest_in_flight,
        memory=f"{totals[0] / 1e6:.1f} MB, then {totals[1] / 1e6:.1f} MB",
        growth=f"{100 * (totals[1] / totals[0] - 1):+.1f} %",
    )
    assert failed == 0
    assert totals[1] <= (1 + MOST_GROWTH) * totals[0], growths
    for role, (_, more) in growths.items():
        assert abs(more) <= MOST_DESCRIPTORS, f"the {role} has {more:+g} descriptors"
