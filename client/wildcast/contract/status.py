"""The statuses of an execution and the changes between them that are legal."""

from enum import StrEnum


class ExecutionStatus(StrEnum):
    """Where an execution stands; the values are those on the wire."""

    ACCEPTED = "accepted"
    """Known to a client that has submitted; the server itself begins at `QUEUED`."""
    QUEUED = "queued"
    """Recorded, and waiting for a worker."""
    RUNNING = "running"
    """The workflow computes."""
    PENDING_RESULTS = "pending_results"
    """The workflow has ended; its output directory is being published."""
    COMPLETED = "completed"
    """Every object of the publication was verified in the store."""
    FAILED = "failed"
    """Ended with an error, which the record names."""
    CANCELLED = "cancelled"
    """Ended on a user's request."""
    EXPIRED = "expired"
    """Ended earlier, and its results have been removed since."""

    @property
    def is_final(self) -> bool:
        """Whether nothing runs any more, so that waiting ends."""
        return self in FINAL

    def may_become(self, target: "ExecutionStatus") -> bool:
        """Whether the change from this status to `target` is legal."""
        return target in TRANSITIONS[self]


_S = ExecutionStatus

TRANSITIONS: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    _S.ACCEPTED: frozenset({_S.QUEUED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELLED}),
    # Back to queued: the worker was lost, and another attempt begins.
    _S.RUNNING: frozenset({_S.PENDING_RESULTS, _S.FAILED, _S.CANCELLED, _S.QUEUED}),
    _S.PENDING_RESULTS: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.QUEUED}),
    _S.COMPLETED: frozenset({_S.EXPIRED}),
    # Back: a retry, of the whole execution or of its publication alone.
    _S.FAILED: frozenset({_S.QUEUED, _S.PENDING_RESULTS, _S.EXPIRED}),
    _S.CANCELLED: frozenset({_S.EXPIRED}),
    _S.EXPIRED: frozenset(),
}

FINAL = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED})
