"""Whether another execution may be recorded, by how many there are."""

from collections import Counter
from collections.abc import Collection, Mapping

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import IdempotencyConflictError, QueueFullError
from wildcast_server.records.values import UNFINISHED, Limits, Submission

RETRY_AFTER_SECONDS = 30
"""When to try a full queue again: a workflow's run takes minutes, and a place is free when one begins."""


class Admission:
    """Counts what is recorded, and holds it below the limits.

    Parameters
    ----------
    limits
        What may be.
    queued
        How many executions wait.
    unfinished
        By workflow with limits of its own and status: how many there are.
    """

    def __init__(self, limits: Limits, queued: int, unfinished: Mapping[tuple[str, ExecutionStatus], int]) -> None:
        self._limits = limits
        self._queued = queued
        self._unfinished = Counter(unfinished)

    def check(self, execution: Execution) -> None:
        """Hold that one more may be recorded; raises `QueueFullError`."""
        if self._limits.max_queued is not None and self._queued >= self._limits.max_queued:
            raise _full(f"{self._queued} executions are waiting", f"{self._limits.max_queued} wait")
        name = execution.workflow_name
        own = self._limits.per_workflow.get(name)
        if own is None:
            return
        queued, unfinished = self._of(name, (ExecutionStatus.QUEUED,)), self._of(name, UNFINISHED)
        if own.max_queued is not None and queued >= own.max_queued:
            raise _full(f"{queued} executions of {name!r} are waiting", f"{own.max_queued} of them wait")
        if own.max_unfinished is not None and unfinished >= own.max_unfinished:
            raise _full(f"{unfinished} executions of {name!r} have not ended", f"{own.max_unfinished} of them be so")

    def count(self, execution: Execution) -> int:
        """Count one that was recorded; return how many were queued before it."""
        before = self._queued
        self._queued += execution.status is ExecutionStatus.QUEUED
        self._unfinished[execution.workflow_name, execution.status] += 1
        return before

    def _of(self, name: str, statuses: Collection[ExecutionStatus]) -> int:
        return sum(self._unfinished[name, status] for status in statuses)


def check_fingerprint(submission: Submission, fingerprint: str) -> None:
    """Hold that the request which used the key before was the same; raises `IdempotencyConflictError`."""
    if submission.fingerprint != fingerprint:
        raise IdempotencyConflictError(
            "another request was submitted with this idempotency key before: repeat it as it was, or take a new key"
        )


def _full(there: str, bound: str) -> QueueFullError:
    return QueueFullError(
        f"{there}, and the server lets no more than {bound}: submit again in {RETRY_AFTER_SECONDS} seconds or later",
        RETRY_AFTER_SECONDS,
    )
