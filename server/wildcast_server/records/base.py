"""The port of the records: what is known of every execution, whatever keeps it."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, Unpack

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, PublicationRecord

UNFINISHED = (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS)
"""What a restart has to take up again."""

ACTIVE = (ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS)
"""What has progress."""


class Changes(TypedDict, total=False):
    """What may change along with a status; a name that is left out stays as it is."""

    started_at: datetime | None
    ended_at: datetime | None
    progress: dict[str, Any] | None
    error_message: str | None
    provenance: Provenance | None
    new_attempt: int
    """Begins another attempt; it must be higher than the current one."""
    published: PublicationRecord
    """Of the current attempt; given when, and only when, the execution becomes `completed`."""


class Standing(NamedTuple):
    """Where an execution stands."""

    execution: Execution
    position: int | None
    """How many queued executions were submitted before it; None unless it is queued itself."""


class Records(ABC):
    """Executions and their publications. Methods block, and may be called from any thread.

    Times must be aware and come back in UTC. JSON values come back as JSON has them: tuples as lists, and numbers that
    JSON cannot express (NaN, infinities) as null.

    Every method raises `ServiceUnavailableError` if what keeps the records cannot be reached.
    """

    @abstractmethod
    def insert(self, execution: Execution, *, max_queued: int | None = None) -> int:
        """Record a new execution.

        Parameters
        ----------
        max_queued
            Unless fewer than so many are queued, nothing is recorded; nobody comes in between counting and recording.

        Returns
        -------
        How many were queued before it.

        Raises
        ------
        QueueFullError
            If `max_queued` are queued already.
        RecordError
            If there is one with this id.
        ValueError
            If it has a publication: that is recorded by `change`.
        """

    @abstractmethod
    def get(self, execution_id: str) -> Execution:
        """Look up an execution; raises `UnknownExecutionError` if there is none."""

    @abstractmethod
    def change(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        to: ExecutionStatus,
        attempt: int | None = None,
        **changes: Unpack[Changes],
    ) -> Execution:
        """Compare and set: change the status, and fields along with it, or nothing at all.

        Parameters
        ----------
        execution_id
            Which.
        expected
            The status, or one of the statuses, that it must have.
        to
            The status that it gets; the contract's transition table must allow it.
        attempt
            The attempt that it must be in, if that matters.
        **changes
            See `Changes`.

        Returns
        -------
        The execution after the change.

        Raises
        ------
        UnknownExecutionError
            If there is no such execution.
        StatusConflictError
            If it has another status or attempt, or may not go from this status to that one.
        ValueError
            If `published` is missing, out of place, or of another attempt.
        """

    @abstractmethod
    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        """Record progress if the execution is running, or being published, in this attempt; return whether it was."""

    @abstractmethod
    def queue_position(self, execution_id: str) -> int | None:
        """Return how many queued executions were submitted before this one; None unless it is queued itself."""

    @abstractmethod
    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        """Look several executions up at once, for little more than one costs; an id that there is not is left out."""

    @abstractmethod
    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        """Return how many executions are queued, running and being published; each of the three has its number."""

    @abstractmethod
    def unfinished(self) -> list[Execution]:
        """Return what is queued, running or being published, in the order of submission."""

    @abstractmethod
    def check(self) -> None:
        """Return if the records can be reached."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""
