"""Run what is measured, each time in a fresh process, against a fresh endpoint."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from harness.endpoint import Endpoint

Command = Sequence[str | Path]

LOOK_EVERY = 0.01
"""Seconds between two looks at a program's memory."""


@dataclass(frozen=True)
class Cost:
    """What one run took, or the medians of several."""

    seconds: float
    cpu: float
    """In seconds, of the client alone."""
    peak: int
    """Resident memory in bytes."""
    endpoint_cpu: float
    """In seconds, of the endpoint."""
    stats: Mapping[str, Any] = field(default_factory=dict)
    """What the endpoint counted."""
    result: Any = None
    """What a driver's work returned."""

    @property
    def requests(self) -> int:
        """How many the endpoint had."""
        return int(self.stats.get("requests", 0))


def medians(costs: Sequence[Cost]) -> Cost:
    """Return the medians; what is no time and no memory is the first run's."""
    return Cost(
        median(cost.seconds for cost in costs),
        median(cost.cpu for cost in costs),
        int(median(cost.peak for cost in costs)),
        median(cost.endpoint_cpu for cost in costs),
        costs[0].stats,
        costs[0].result,
    )


def run_driver(command: Command, environment: Mapping[str, str], endpoint: Endpoint) -> Cost:
    """Run a driver: its imports are done before the clock starts, and it measures itself."""
    with (
        tempfile.TemporaryDirectory() as cwd,
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, env=environment, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        ready = process.stdout.readline()
        before = endpoint.cpu_seconds
        output = process.communicate("go\n")[0] if ready else ""
        if process.returncode or not output:
            errors.seek(0)
            raise SystemExit(f"{' '.join(map(str, command))} failed: {errors.read()[-2000:]}")
    answer = json.loads(output.splitlines()[-1])
    used = endpoint.cpu_seconds - before
    return Cost(answer["seconds"], answer["cpu"], answer["peak"], used, result=answer["result"])


def run_program(command: Command, environment: Mapping[str, str], endpoint: Endpoint) -> Cost:
    """Run a program from its start to its end; its children count (getrusage(2)), but for the peak of memory."""
    before = endpoint.cpu_seconds
    with tempfile.TemporaryDirectory() as cwd, tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=cwd, stdout=output, stderr=output)
        watch = PeakWatch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        peak = watch.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(map(str, command))} failed: {output.read()[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds, cpu, peak, endpoint.cpu_seconds - before)


class PeakWatch:
    """Looks at a process's largest resident set until it ends; getrusage(2) would count ours, as we started it."""

    def __init__(self, process: int) -> None:
        self._status = Path(f"/proc/{process}/status")
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Return the peak in bytes, without the last hundredth of a second."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            with suppress(OSError):
                found = re.search(r"VmHWM:\s*(\d+) kB", self._status.read_text())
                self._peak = int(found[1]) * 1024 if found else self._peak
