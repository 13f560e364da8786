"""Trying workflow files out in a child process, before the service imports them into its own."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from wildcast_server.errors import RunnerDiedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.process import RunnerProcess

IMPORT_SECONDS = 120.0
"""How long one file may take to import; large libraries on a slow disk take tens of seconds."""

logger = logging.getLogger("wildcast_server.workflow")


def probe(files: Sequence[Path], seconds: float = IMPORT_SECONDS) -> dict[Path, str]:
    """Import each file in a child process; return those that end or hang it, each with how.

    What an import raises is no matter here: that ends nothing, and whoever imports the file next sees it too. After
    each file that ended the child, the ones behind it are tried in another child.

    Parameters
    ----------
    seconds
        The longest that one file may take.

    Raises
    ------
    RunnerDiedError
        If the child cannot be started, or ends before it imports anything.
    """
    refused: dict[Path, str] = {}
    remaining = list(files)
    while remaining:
        found = _first_fatal(remaining, seconds)
        if found is None:
            break
        path, reason = found
        refused[path] = reason
        remaining = remaining[remaining.index(path) + 1 :]
    return refused


def _first_fatal(files: Sequence[Path], seconds: float) -> tuple[Path, str] | None:
    try:
        process = RunnerProcess(protocol.Probe(files=tuple(map(str, files))), logger)
    except OSError as error:
        raise RunnerDiedError(f"the process that tries workflow files out cannot be started: {error}") from error
    watch = _Watch(process, seconds)
    try:
        return _follow(process, watch)
    finally:
        watch.stop()
        process.kill()
        process.close()


def _follow(process: RunnerProcess, watch: "_Watch") -> tuple[Path, str] | None:
    current: str | None = None
    for message in process.messages:
        match message:
            case protocol.Ready():
                return None
            case protocol.Importing():
                current = message.file
                watch.start()
    if watch.has_barked:
        return Path(str(current)), f"it took longer than {watch.seconds:g} seconds"
    death = process.describe_death()
    if current is None:
        raise RunnerDiedError(f"the process that tries workflow files out {death}")
    return Path(current), f"a process that imports it {death}"


class _Watch:
    """Kills a process that has not called `start` again within some seconds."""

    def __init__(self, process: RunnerProcess, seconds: float) -> None:
        self.seconds = seconds
        self.has_barked = False
        self._process = process
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Begin to count, from zero."""
        self.stop()
        self._timer = threading.Timer(self.seconds, self._bark)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _bark(self) -> None:
        self.has_barked = True
        self._process.kill()
