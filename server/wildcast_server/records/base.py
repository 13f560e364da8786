"""The port of the records: what is known of every execution, whatever keeps it."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution
from wildcast_server.records.outbox_port import OutboxRecords
from wildcast_server.records.values import (
    NOTHING_ELSE,
    UNLIMITED,
    Accepted,
    Changes,
    Effects,
    Heed,
    Limits,
    Marks,
    Page,
    PageQuery,
    Standing,
    Submission,
    Within,
    WithinAll,
)
from wildcast_server.records.workers_port import WorkerRecords


class Records(WorkerRecords, OutboxRecords):
    """Executions and their publications, workers, and what follows. Methods block, and may be called from any thread.

    Times must be aware and come back in UTC. JSON values come back as JSON has them: tuples as lists, and numbers that
    JSON cannot express (NaN, infinities) as null. An execution that is deleted is unknown, save to `get` with
    `deleted` and to what removes it.

    Every method raises `ServiceUnavailableError` if what keeps the records cannot be reached.
    """

    @abstractmethod
    def insert_all(
        self, submissions: Sequence[Submission], *, limits: Limits = UNLIMITED, within: WithinAll | None = None
    ) -> list[Accepted | Exception]:
        """Record new executions, in one transaction; nobody comes in between counting and recording.

        Parameters
        ----------
        submissions
            In their order.
        limits
            What would be one too many is not recorded. One whose key was used before counts for none.
        within
            Done once for all that are recorded, if any is; what it raises undoes all of them.

        Returns
        -------
        For each submission what became of it, so that one which is refused does not refuse the others: `Accepted`, or
        `QueueFullError`, `IdempotencyConflictError` (the key was used for another request), or `RecordError` (there is
        one with this id).

        Raises
        ------
        ValueError
            If one has a publication: that is recorded by `change`.
        """

    def insert(
        self,
        execution: Execution,
        *,
        limits: Limits = UNLIMITED,
        within: Within | None = None,
        key: str | None = None,
        fingerprint: str = "",
    ) -> Accepted:
        """Record one new execution: as `insert_all` does, but what it returns instead of an outcome is raised."""

        def within_all(recorded: Sequence[Execution], connection: Any) -> None:
            for each in recorded:
                if within is not None:
                    within(each, connection)

        submission = Submission(execution=execution, key=key, fingerprint=fingerprint)
        outcome = self.insert_all([submission], limits=limits, within=within_all)[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @abstractmethod
    def get(self, execution_id: str, *, deleted: bool = False) -> Execution:
        """Look up an execution; raises `UnknownExecutionError` if there is none.

        Parameters
        ----------
        execution_id
            Which.
        deleted
            Whether it may be a deleted one.
        """

    @abstractmethod
    def change(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        to: ExecutionStatus,
        attempt: int | None = None,
        job: int | None = None,
        limits: Limits = UNLIMITED,
        effects: Effects = NOTHING_ELSE,
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
        job
            The number of the job that must be its current one, if that matters.
        limits
            What must hold for one execution more, where it becomes an unfinished one again.
        effects
            What follows, in the same transaction.
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
            If it has another status, attempt or job, or may not go from this status to that one.
        QueueFullError
            If it would be one too many.
        ValueError
            If `published` is missing, out of place, or of another attempt.
        """

    @abstractmethod
    def begin_attempt(
        self,
        execution_id: str,
        *,
        job: int,
        worker: str,
        site: str,
        reuse: bool,
        elsewhere: bool,
        started_at: datetime,
        provenance: Provenance | None = None,
    ) -> Execution:
        """Compare and set: let a queued execution, or one whose worker died, run here.

        The attempt counts up, and `deaths` with it, unless it was queued. Progress is emptied, and tries begin anew.

        Parameters
        ----------
        execution_id
            Which.
        job
            The number of the job that must be its current one.
        worker, site
            Who runs it, and the disk of its output directory.
        reuse
            Whether the attempt stays that is recorded, since its workflow was never begun.
        elsewhere
            Whether it gets another place, since who ran it before may still write to that one.
        started_at
            Now.
        provenance
            What is known of where it runs.

        Raises
        ------
        UnknownExecutionError
            If there is no such execution.
        StatusConflictError
            If it is neither queued nor running, has another job, or is to be cancelled.
        """

    @abstractmethod
    def begin_try(self, execution_id: str, *, job: int, worker: str) -> Execution:
        """Compare and set: count another try of publishing; raises as `change` does."""

    @abstractmethod
    def mark(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        job: int | None = None,
        effects: Effects = NOTHING_ELSE,
        **marks: Unpack[Marks],
    ) -> Execution:
        """Compare and set: change what is not the status; `job` must be the number of its current one, if it is given.

        Raises `UnknownExecutionError` and `StatusConflictError`.
        """

    @abstractmethod
    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        """Record progress if the execution is running, or being published, in this attempt; return whether it was."""

    @abstractmethod
    def heed(self, attempts: Mapping[str, int]) -> dict[str, Heed]:
        """Say of executions, each with the attempt that is worked on, what is to be heeded; one query for all."""

    @abstractmethod
    def queue_position(self, execution_id: str) -> int | None:
        """Return how many queued executions were submitted before this one; None unless it is queued itself."""

    @abstractmethod
    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        """Look several executions up at once, for little more than one costs; an id that there is not is left out."""

    @abstractmethod
    def page(self, query: PageQuery) -> Page:
        """List executions, the newest first; a page costs the same however far back it is."""

    @abstractmethod
    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        """Return how many executions are queued, running and being published; each of the three has its number."""

    @abstractmethod
    def unfinished(self, *among: ExecutionStatus) -> list[Execution]:
        """Return what is queued, running or being published, or `among` these only, in the order of submission."""

    @abstractmethod
    def check(self) -> None:
        """Return if the records can be reached."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""
