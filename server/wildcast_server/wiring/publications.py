"""The two ways in which an execution's output becomes a publication."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from wildcast_server.domain.execution import Execution
from wildcast_server.errors import StoreError
from wildcast_server.jobs import SinkSpec
from wildcast_server.publish import Published, Publishing, publish_in_place
from wildcast_server.transfer.files import ProgressCallback

SINK_SECONDS = 30.0
"""How long a workflow waits to be told where to stream to; if the store does not answer, it writes to the disk."""


@dataclass(frozen=True)
class InStore:
    """A publication in a store, live if that is wanted."""

    publishing: Publishing
    open_sink: Callable[[Publishing], SinkSpec | None]
    publish_live: bool

    def sink(self) -> SinkSpec | None:
        """Return the store, below the publication's prefix."""
        try:
            return self.open_sink(self.publishing) if self.publishing.is_open(SINK_SECONDS) else None
        except StoreError:
            return None

    def live(self, group: Callable[[], int | None], on_progress: ProgressCallback) -> AbstractContextManager[object]:
        """Upload what has settled."""
        return self.publishing.live(group, on_progress) if self.publish_live else nullcontext()

    def share(self) -> None:
        """List what is stored so far, from now on."""
        self.publishing.share()

    def finish(self, on_progress: ProgressCallback) -> Published:
        """Upload the rest, verify, commit."""
        return self.publishing.finish(on_progress)

    def abandon(self) -> None:
        """Remove what was uploaded."""
        self.publishing.abandon()

    def close(self) -> None:
        """Leave it for the next try."""
        self.publishing.close()


@dataclass(frozen=True)
class InPlace:
    """A publication where the output directory is, for the API to serve."""

    directory: Path
    execution: Execution
    afresh: bool

    def sink(self) -> SinkSpec | None:
        """Return nothing: all output is on disk."""
        return None

    def live(self, _group: Callable[[], int | None], _on_progress: ProgressCallback) -> AbstractContextManager[object]:
        """Do nothing: there is nothing to move."""
        return nullcontext()

    def share(self) -> None:
        """Do nothing: a file that is served from here may still be rewritten."""

    def finish(self, _on_progress: ProgressCallback) -> Published:
        """Checksum the files, and write their manifest beside them."""
        execution = self.execution
        return publish_in_place(self.directory, execution.id, attempt=execution.attempt, prefix=execution.name)

    def abandon(self) -> None:
        """Do nothing: what was written stays for whoever looks for the reason."""

    def close(self) -> None:
        """Do nothing."""
