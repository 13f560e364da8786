"""What running an execution needs of publishing, whatever a publication is made of."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from wildcast_server.domain.execution import Execution
from wildcast_server.jobs import SinkSpec
from wildcast_server.publish import Published
from wildcast_server.transfer.files import ProgressCallback


class Ongoing(Protocol):
    """A publication that has begun; `finish`, `abandon` or `close` ends it."""

    def sink(self) -> SinkSpec | None:
        """Return where the workflow may write past the disk; None for nowhere."""

    def live(self, group: Callable[[], int | None], on_progress: ProgressCallback) -> AbstractContextManager[object]:
        """Publish what has settled for as long as the context is open; `group` writes it. Raises nothing of its own."""

    def share(self) -> None:
        """Let readers see what is published so far: somebody has asked for it. Returns at once, and may be repeated."""

    def finish(self, on_progress: ProgressCallback) -> Published:
        """Publish the output directory as it is now; raises `PublicationError` and `StoreError`."""

    def abandon(self) -> None:
        """Remove what was published live, as far as that can be done."""

    def close(self) -> None:
        """Leave everything as it is. Idempotent."""


class Begin(Protocol):
    """Begins the publication of an execution's output."""

    def __call__(self, directory: Path, execution: Execution, *, afresh: bool) -> Ongoing:
        """Begin; `afresh` if the directory is still to be written. Never waits for a store, nor fails with one."""


class Kept:
    """Publications that went along with a computation, for who finishes them in this process.

    Who goes on with one need not ask the store what is there. It may be missing at any time: then the publication is
    begun again, as after a kill.

    Parameters
    ----------
    most
        How many are kept; of more, the oldest are closed.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._ongoing: dict[tuple[str, int], Ongoing] = {}

    def put(self, execution: Execution, ongoing: Ongoing) -> None:
        """Keep what has come to the end of its computation."""
        with self._lock:
            self._ongoing[_key(execution)] = ongoing
            oldest = list(self._ongoing)[: -self._most]
            closed = [self._ongoing.pop(key) for key in oldest]
        for each in closed:
            each.close()

    def take(self, execution: Execution) -> Ongoing | None:
        """Return, once, what was kept of this very attempt, unless somebody else has tried to publish it since."""
        with self._lock:
            ongoing = self._ongoing.pop(_key(execution), None)
        if ongoing is not None and execution.tries > 1:
            ongoing.close()
            return None
        return ongoing


def _key(execution: Execution) -> tuple[str, int]:
    return execution.name, execution.attempt
