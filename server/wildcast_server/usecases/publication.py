"""What running an execution needs of publishing, whatever a publication is made of."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import UnknownExecutionError
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
        How many are kept; of more, the oldest are closed. 0 where another process publishes.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._ongoing: dict[tuple[str, int], tuple[str, Ongoing]] = {}

    def put(self, execution: Execution, ongoing: Ongoing) -> None:
        """Keep what has come to the end of its computation."""
        with self._lock:
            self._ongoing[_key(execution)] = (execution.id, ongoing)
            oldest = list(self._ongoing)[: max(0, len(self._ongoing) - self._most)]
            closed = [self._ongoing.pop(key) for key in oldest]
        for _, each in closed:
            each.close()

    def take(self, execution: Execution) -> Ongoing | None:
        """Return, once, what was kept of this very attempt, unless somebody else has tried to publish it since."""
        with self._lock:
            kept = self._ongoing.pop(_key(execution), None)
        if kept is None:
            return None
        _, ongoing = kept
        if execution.tries > 1:
            ongoing.close()
            return None
        return ongoing

    def close_taken(self, current: Callable[[str], Execution]) -> None:
        """Close what somebody else publishes, or nobody will; `current` looks an execution up."""
        with self._lock:
            ids = [(key, execution_id) for key, (execution_id, _) in self._ongoing.items()]
        for key, execution_id in ids:
            if not _is_awaited(key, execution_id, current):
                with self._lock:
                    kept = self._ongoing.pop(key, None)
                if kept is not None:
                    kept[1].close()


def _is_awaited(key: tuple[str, int], execution_id: str, current: Callable[[str], Execution]) -> bool:
    """Whether this process may still be the one that publishes it."""
    try:
        execution = current(execution_id)
    except UnknownExecutionError:
        return False
    if _key(execution) != key:
        return False
    is_free = execution.status is ExecutionStatus.PENDING_RESULTS and execution.tries == 0
    # It is put here before it is handed over.
    return is_free or execution.status is ExecutionStatus.RUNNING


def _key(execution: Execution) -> tuple[str, int]:
    return execution.name, execution.attempt
