"""What follows from an execution's end: when its results go, what is removed, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from wildcast.contract.naming import join_key
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StorageType
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import NewRemoval
from wildcast_server.records import Changes, Effects
from wildcast_server.usecases.webhooks import deliveries_of


@dataclass(frozen=True)
class Ending:
    """Decides it, for everything that ends executions.

    Parameters
    ----------
    storage_type
        How results are published now.
    prefix
        What every publication's prefix begins with.
    retention_seconds
        How long the results are kept of an execution that does not say so itself; None for ever.
    clock
        Tells the time of the end.
    """

    storage_type: StorageType
    prefix: str = ""
    retention_seconds: int | None = None
    clock: Callable[[], datetime] = utc_now

    def __call__(
        self, execution: Execution, to: ExecutionStatus, error_message: str | None = None
    ) -> tuple[Changes, Effects]:
        """Return what changes along with the status, and what follows in the same transaction.

        Parameters
        ----------
        execution
            As it is before.
        to
            The status that it ends in.
        error_message
            Why, if it failed.
        """
        now = self.clock()
        changes: Changes = {"ended_at": now, "expires_at": self._expiry(execution, now)}
        if error_message is not None:
            changes["error_message"] = error_message
        ended = execution.with_changes(status=to, **changes)
        removals = self.removals(execution, to.value) if to is ExecutionStatus.CANCELLED else ()
        return changes, Effects(deliveries=deliveries_of(ended), removals=removals)

    def removals(self, execution: Execution, reason: str) -> Sequence[NewRemoval]:
        """Return all that there may be of an execution, in every place that it was at."""
        removals: list[NewRemoval] = []
        published = execution.published
        if published is not None and published.storage_type == "s3":
            prefix = published.publication.prefix
            removals.append(_removal(execution, reason, "s3", prefix.rpartition("/")[2], prefix, committed=True))
        # What an earlier version of wildcast published knows of no worker.
        has_begun = execution.worker is not None or published is not None
        for place in range(1, execution.place + 1) if has_begun else ():
            name = execution.with_changes(place=place).name
            # The directory, which is the publication itself where the API serves it.
            removals.append(_removal(execution, reason, "server", name, None))
            if self.storage_type == "s3" and published is None:
                removals.append(_removal(execution, reason, "s3", name, join_key(self.prefix, name)))
        return removals

    def _expiry(self, execution: Execution, now: datetime) -> datetime | None:
        seconds = self.retention_seconds if execution.retention_seconds is None else execution.retention_seconds
        return None if seconds is None else now + timedelta(seconds=seconds)


def _removal(
    execution: Execution,
    reason: str,
    storage_type: StorageType,
    name: str,
    prefix: str | None,
    *,
    committed: bool = False,
) -> NewRemoval:
    return NewRemoval(
        execution_id=execution.id,
        attempt=execution.attempt,
        storage_type=storage_type,
        name=name,
        prefix=prefix,
        # Objects anybody can remove.
        site=execution.site if prefix is None else None,
        committed=committed,
        reason=reason,
    )
