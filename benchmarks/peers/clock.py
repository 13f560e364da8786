"""The stop-watch of a driver: it starts when the harness says so, after the imports.

The standard library alone: peers run in an environment of their own.
"""

import gc
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BUCKET = "bench"


def measured(work: Callable[[], T], told: Callable[[T], object] = lambda result: result) -> None:
    """Say that we are ready, wait for the word, do the work, print what it cost as one JSON line.

    `told` makes of what the work gave what is printed as its result; it is not measured.
    """
    # Or what the imports have left is looked through during the work, which takes longer the more was imported.
    gc.collect()
    print("ready", flush=True)
    if not sys.stdin.readline():
        raise SystemExit("the harness is gone")
    cpu, began = _cpu_seconds(), time.perf_counter()
    result = work()
    seconds, used = time.perf_counter() - began, _cpu_seconds() - cpu
    cost = {"seconds": seconds, "cpu": used, "peak": peak_memory()}
    print(json.dumps({**cost, "result": told(result)}), flush=True)
    # Clients in Rust have threads that call into Python a moment later: an interpreter that is ending then is aborted.
    os._exit(0)


def peak_memory() -> int:
    """Return this process's largest resident set, in bytes (proc(5): VmHWM; getrusage's would count the parent's)."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("peak memory is measured on Linux only")
    return int(found[1]) * 1024


def _cpu_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
