"""Trying workflow files out in a child process, before the service imports them into its own."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wildcast_server.errors import RunnerDiedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.process import RunnerProcess

IMPORT_SECONDS = 120.0
"""How long one file may take to import; large libraries on a slow disk take tens of seconds."""

HEED_SECONDS = 0.1
"""How soon it is noticed that the trial should stop, or that a file takes too long."""

logger = logging.getLogger("wildcast_server.workflow")


class Surveyed(NamedTuple):
    """A workflow that a file gives."""

    file: Path
    timeout_seconds: float | None
    """How long it may run, by its own word."""


@dataclass
class Survey:
    """What files came to that were imported by a child process."""

    workflows: dict[str, Surveyed] = field(default_factory=dict)
    """By name; of two files that give the same one, the first has it."""
    refused: dict[Path, str] = field(default_factory=dict)
    """Files that end or hang the process that imports them, each with how."""


def probe(
    files: Sequence[Path], seconds: float = IMPORT_SECONDS, stop: threading.Event | None = None
) -> dict[Path, str]:
    """Import each file in a child process; return those that end or hang it, each with how; see `survey`."""
    return survey(files, seconds, stop).refused


def survey(files: Sequence[Path], seconds: float = IMPORT_SECONDS, stop: threading.Event | None = None) -> Survey:
    """Import each file in a child process, and return what was seen.

    What an import raises is no matter here: that ends nothing, and whoever imports the file next sees it too. After
    each file that ended the child, the ones behind it are tried in another child.

    Parameters
    ----------
    files
        In the order in which they count.
    seconds
        The longest that one file may take.
    stop
        Once it is set, the trial ends at once, and what is returned is not all.

    Raises
    ------
    RunnerDiedError
        If the child cannot be started, or ends before it imports anything.
    """
    seen = Survey()
    remaining = list(files)
    stop = stop or threading.Event()
    while remaining:
        found = _first_fatal(remaining, seconds, stop, seen)
        if found is None or stop.is_set():
            break
        path, reason = found
        seen.refused[path] = reason
        remaining = remaining[remaining.index(path) + 1 :]
    return seen


def _first_fatal(files: Sequence[Path], seconds: float, stop: threading.Event, seen: Survey) -> tuple[Path, str] | None:
    try:
        process = RunnerProcess(protocol.Probe(files=tuple(map(str, files))), logger)
    except OSError as error:
        raise RunnerDiedError(f"the process that tries workflow files out cannot be started: {error}") from error
    watch = _Watch(process, seconds, stop)
    try:
        return _follow(process, watch, seen)
    finally:
        watch.end()
        process.kill()
        process.close()


def _follow(process: RunnerProcess, watch: "_Watch", seen: Survey) -> tuple[Path, str] | None:
    current: str | None = None
    for message in process.messages:
        match message:
            case protocol.Ready():
                return None
            case protocol.Importing():
                current = message.file
                watch.begin()
            case protocol.Found():
                for name, timeout_seconds in message.workflows.items():
                    seen.workflows.setdefault(name, Surveyed(Path(message.file), timeout_seconds))
    if watch.is_told_to_stop:
        return None
    if watch.has_barked:
        return Path(str(current)), f"it took longer than {watch.seconds:g} seconds"
    death = process.describe_death()
    if current is None:
        raise RunnerDiedError(f"the process that tries workflow files out {death}")
    return Path(current), f"a process that imports it {death}"


class _Watch:
    """Kills a process that has not called `begin` again within some seconds, or once it is told to stop."""

    def __init__(self, process: RunnerProcess, seconds: float, stop: threading.Event) -> None:
        self.seconds = seconds
        self.has_barked = False
        self._process = process
        self._stop = stop
        self._deadline = float("inf")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="import-watch", daemon=True)
        self._thread.start()

    @property
    def is_told_to_stop(self) -> bool:
        """Whether nobody wants to know any more."""
        return self._stop.is_set()

    def begin(self) -> None:
        """Begin to count, from zero."""
        self._deadline = time.monotonic() + self.seconds

    def end(self) -> None:
        """Count no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(HEED_SECONDS):
            self.has_barked = time.monotonic() > self._deadline
            if self.has_barked or self._stop.is_set():
                self._process.kill()
                return
