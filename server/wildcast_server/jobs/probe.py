"""Trying workflow files out in a child process, before the service imports them into its own."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wildcast_server.errors import RunnerDiedError
from wildcast_server.jobs import protocol
from wildcast_server.jobs.loading import LoadingLimit
from wildcast_server.jobs.process import RunnerProcess

IMPORT_SECONDS = 120.0
"""How long one file may take to import; large libraries on a slow disk take tens of seconds."""

HEED_SECONDS = 0.1
"""How soon it is noticed that the trial should stop."""

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
    try:
        with LoadingLimit(process, seconds) as limit, _killed_once(stop, process):
            return _follow(process, limit, stop, seen)
    finally:
        process.kill()
        process.close()


def _follow(
    process: RunnerProcess, limit: LoadingLimit, stop: threading.Event, seen: Survey
) -> tuple[Path, str] | None:
    current: str | None = None
    for message in process.messages:
        match message:
            case protocol.Ready():
                return None
            case protocol.Importing():
                current = message.file
                limit.begin()
            case protocol.Found():
                for name, timeout_seconds in message.workflows.items():
                    seen.workflows.setdefault(name, Surveyed(Path(message.file), timeout_seconds))
    if stop.is_set():
        return None
    how = limit.describe()
    if current is None:
        raise RunnerDiedError(f"the process that tries workflow files out {how}")
    return Path(current), f"it {how}" if limit.has_passed else f"a process that imports it {how}"


@contextmanager
def _killed_once(stop: threading.Event, process: RunnerProcess) -> Iterator[None]:
    """Kill a process once nobody wants to know any more, for as long as the context is open."""
    over = threading.Event()

    def heed() -> None:
        while not over.wait(HEED_SECONDS):
            if stop.is_set():
                process.kill()
                return

    thread = threading.Thread(target=heed, name="import-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
