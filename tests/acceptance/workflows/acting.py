"""Workflows on which somebody acts: one that will not stop, and some that fail until something is mended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from wildcast_server import RunContext, workflow


def _started(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("started\n")


@workflow
def will_not_stop(context: RunContext, pids: str) -> None:
    """Ignore every polite signal, in a child as well, and store something meanwhile."""
    for polite in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(polite, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(1)"])
    (context.output_directory / "a.txt").write_text("a")
    Path(pids).write_text(f"{os.getpid()} {child.pid}")
    while True:
        time.sleep(1)


@workflow
def leaves_a_link(context: RunContext, starts: str) -> None:
    """Write what cannot be published until somebody takes the link away."""
    _started(starts)
    (context.output_directory / "a.txt").write_text("text")
    (context.output_directory / "link").symlink_to("/etc/passwd")


@workflow
def fails_without(context: RunContext, path: str, starts: str) -> None:
    """Fail until there is a file `path`."""
    _started(starts)
    (context.output_directory / "a.txt").write_text("text")
    if not Path(path).exists():
        raise FileNotFoundError(path)
