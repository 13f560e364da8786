"""Workflows that say that they were started, and misbehave as a test asks them to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from wildcast_server import RunContext, Workflow, workflow


def _note(context: RunContext, *pids: int) -> None:
    line = " ".join([context.execution_id, str(os.getpid()), *map(str, pids)]) + "\n"
    descriptor = os.open(Path(os.environ["STARTS"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@workflow
def computes(context: RunContext, seconds: float = 0.0, files: int = 1) -> None:
    """Writes files, and takes its time."""
    _note(context)
    for number in range(files):
        (context.output_directory / f"{number}.txt").write_text(f"file {number}\n" * 100)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.02)


@workflow
def writes_large(context: RunContext) -> None:
    """Writes a file of 20 MB, and a netCDF file that is read by ranges."""
    import numpy as np
    import xarray as xr

    (context.output_directory / "large.bin").write_bytes(bytes(range(256)) * 80_000)
    data = xr.Dataset({"t": ("x", np.arange(500_000.0))})
    data.to_netcdf(context.output_directory / "data.nc", engine="h5netcdf")


@workflow
def stubborn(context: RunContext, leave: bool = False) -> None:
    """Ignores every request to end until a file says it; what it starts does so, too, in a session of its own if told.

    Where nobody makes the file, it takes a minute.
    """
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=leave)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (context.output_directory / "early.txt").write_text("early")
    _note(context, child.pid)
    deadline, go = time.monotonic() + 60, Path(os.environ["STARTS"] + ".go")
    while time.monotonic() < deadline and not go.exists():
        time.sleep(0.05)
    child.kill()
    child.wait()


@workflow
def kills_the_worker(context: RunContext) -> None:
    """Takes the worker along."""
    _note(context)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@workflow
def kills_itself(context: RunContext) -> None:
    """Takes its own process along."""
    _note(context)
    os.kill(os.getpid(), signal.SIGKILL)


class Limited(Workflow):
    """May take a second, and takes longer."""

    name = "limited"
    timeout_seconds: ClassVar[float | None] = 1.0

    class Parameters(BaseModel):
        """None."""

    def run(self, _parameters: BaseModel, context: RunContext) -> None:
        """Sleep, in C."""
        _note(context)
        time.sleep(60)
