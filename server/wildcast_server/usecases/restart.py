"""Stopping and starting again: what is interrupted, and what is taken up."""

import logging
from collections.abc import Callable

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import StatusConflictError
from wildcast_server.jobs import JobEngine
from wildcast_server.records import Records
from wildcast_server.usecases.computed import Marks

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""After so many computations that the service did not survive, the execution is at fault."""

MAX_RESUMED = 10
"""After so many starts that did not get it published, the execution is at fault, or its directory."""


def put_back(records: Records, execution: Execution) -> None:
    """Queue an active execution again: the service interrupts it in order to stop, and its next start takes it up.

    It stays in its attempt: stopping in order is no failure that counts.
    """
    try:
        records.change(
            execution.id,
            expected=execution.status,
            to=ExecutionStatus.QUEUED,
            attempt=execution.attempt,
            started_at=None,
            progress=None,
            provenance=None,
        )
    except StatusConflictError as conflict:
        logger.warning("%s was changed by somebody else while it ran: %s", execution.id, conflict)
    else:
        logger.warning("%s was interrupted and waits for the next start", execution.id)


def put_back_active(records: Records, marks: Marks | None = None) -> None:
    """Queue again what is still active although the service has to stop; what it does from now on counts no more.

    What is being published and has a mark stays as it is: the next start goes on with that.
    """
    for execution in records.unfinished():
        if execution.status is ExecutionStatus.QUEUED:
            continue
        if execution.status is ExecutionStatus.PENDING_RESULTS and marks is not None and marks.holds(execution):
            logger.warning("%s is computed, and the next start goes on with publishing it", execution.id)
        else:
            put_back(records, execution)


def resume_unfinished(
    records: Records,
    jobs: JobEngine,
    marks: Marks | None = None,
    abandon: Callable[[Execution], None] = lambda _execution: None,
) -> list[str]:
    """Take up what was waiting or active when the service last stopped; return the ids.

    An execution that was computed is published. Another one that was active begins a new attempt, unless it has had
    `MAX_ATTEMPTS`: then it fails.

    Parameters
    ----------
    marks
        Of computations that had ended; None where nothing is known of that.
    abandon
        Removes what the last attempt of an execution that fails had published live, if it was not computed whole.
    """
    resumed = []
    for execution in records.unfinished():
        if execution.status is not ExecutionStatus.QUEUED and not _take_up(records, execution, marks):
            # What was computed stays, in the store too: it can be published without computing it again.
            if marks is None or not marks.holds(execution):
                abandon(execution)
            continue
        jobs.enqueue(execution.id)
        resumed.append(execution.id)
    return resumed


def _take_up(records: Records, execution: Execution, marks: Marks | None) -> bool:
    if marks is None or not marks.holds(execution):
        return _requeue(records, execution)
    if marks.count(execution) > MAX_RESUMED:
        _fail(records, execution, f"the service stopped {MAX_RESUMED} times while it published this")
        return False
    if execution.status is ExecutionStatus.RUNNING:
        records.change(execution.id, expected=execution.status, to=ExecutionStatus.PENDING_RESULTS)
    return True


def _requeue(records: Records, execution: Execution) -> bool:
    if execution.attempt >= MAX_ATTEMPTS:
        _fail(records, execution, f"the service stopped {MAX_ATTEMPTS} times while it ran this")
        return False
    records.change(
        execution.id,
        expected=execution.status,
        to=ExecutionStatus.QUEUED,
        new_attempt=execution.attempt + 1,
        started_at=None,
        progress=None,
        provenance=None,
    )
    return True


def _fail(records: Records, execution: Execution, what: str) -> None:
    records.change(
        execution.id,
        expected=execution.status,
        to=ExecutionStatus.FAILED,
        ended_at=utc_now(),
        error_message=f"{what}; it is not tried again",
    )
