"""A process's own peak of resident memory, between two points in time."""

import resource
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak() -> None:
    """Begin a new measurement, where the kernel can (Linux: proc_pid_clear_refs(5), value 5)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the peak since the last `reset_peak`, or since the process began, in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # getrusage counts in KiB, and on macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
