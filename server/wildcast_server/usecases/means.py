"""What the jobs of one worker share."""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import UnknownExecutionError, WildcastServerError
from wildcast_server.jobs import JobQueue
from wildcast_server.records import Records
from wildcast_server.usecases.computed import Marks
from wildcast_server.usecases.drain import Drain
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.identity import Identity
from wildcast_server.usecases.leaving import LeftError, unless_left
from wildcast_server.usecases.patience import Patience
from wildcast_server.usecases.publication import Begin, Kept, Ongoing
from wildcast_server.usecases.watch import Watch

logger = logging.getLogger(__name__)

ABANDON_SECONDS = 1.0
"""How long a store may take to remove what was uploaded of a cancelled execution before its end is recorded."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What they work with.

    Parameters
    ----------
    begin
        Begins a publication.
    output_root
        Each execution writes into ``<output_root>/<its name>``.
    """

    records: Records
    jobs: JobQueue
    begin: Begin
    output_root: Path
    identity: Identity
    ending: Ending
    watch: Watch
    drain: Drain
    patiently: Patience
    kept: Kept = field(default_factory=Kept)

    @property
    def marks(self) -> Marks:
        """Tell how far the computations here have come."""
        return Marks(self.output_root)

    def directory(self, execution: Execution) -> Path:
        """Return where it writes."""
        return self.output_root / execution.name

    def current(self, execution_id: str) -> Execution | None:
        """Look an execution up; None if it was deleted."""
        try:
            return self.patiently(execution_id, lambda: self.records.get(execution_id))
        except UnknownExecutionError:
            return None

    def abandon(self, execution: Execution, ongoing: Ongoing | None = None) -> None:
        """Remove what was published of an execution that nobody will read, as far as the store lets us.

        What is left is removed once its end is recorded, again and again until the store does it.
        """
        called_off = threading.Event()
        called_off.set()
        try:
            begun = ongoing or self.begin(self.directory(execution), execution, afresh=False)
            unless_left(begun.abandon, called_off, ABANDON_SECONDS)
        except WildcastServerError as error:
            logger.warning("%s: what was uploaded of it is removed later: %s", execution.id, error)
        except LeftError:
            logger.warning("%s: what was uploaded of it is removed later: the store does not answer", execution.id)

    def put_back(self, execution: Execution) -> None:
        """Queue a running execution again: its worker interrupts it in order to stop, and another one takes it up.

        It stays in its attempt: stopping in order is no failure that counts. Where that cannot be recorded, whoever
        takes the job up begins another one.
        """
        try:
            self.records.change(
                execution.id,
                expected=ExecutionStatus.RUNNING,
                to=ExecutionStatus.QUEUED,
                attempt=execution.attempt,
                job=execution.jobs,
                started_at=None,
                progress=None,
                provenance=None,
            )
        except WildcastServerError as error:
            logger.warning("%s is not put back: %s", execution.id, error)
        else:
            logger.warning("%s was interrupted and waits for another worker", execution.id)


def serial_of(job_id: str) -> int:
    """Return which of its execution's jobs one is."""
    return int(job_id.rpartition(".")[2])
