"""What running an execution needs of publishing, whatever a publication is made of."""

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
