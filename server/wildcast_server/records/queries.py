"""Every query on the records, by name. Values are bound when it is executed."""

from sqlalchemy import (
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from wildcast.contract.status import ExecutionStatus
from wildcast_server.records.tables import executions, idempotency, labels, publications
from wildcast_server.records.values import ACTIVE, UNFINISHED

_E, _P, _K = executions.c, publications.c, idempotency.c

INSERT_PUBLICATION = insert(publications)
INSERT_LABEL = insert(labels)
INSERT_KEY = insert(idempotency)

INSERT_EXECUTIONS = insert(executions).returning(_E.id, _E.sequence, sort_by_parameter_order=True)
"""Of many at once; none may be `TAKEN`: a failed insertion would end the transaction in Postgres."""

TAKEN = select(_E.id).where(_E.id.in_(bindparam("execution_ids", expanding=True)))

EXECUTION = select(
    executions,
    *(column for column in _P if column.name not in ("execution_id", "attempt")),
).select_from(executions.outerjoin(publications, and_(_P.execution_id == _E.id, _P.attempt == _E.attempt)))
"""Executions with the publication of their current attempt; its columns are null where there is none."""

KEYS = select(idempotency).where(tuple_(_K.owner, _K.key).in_(bindparam("keys", expanding=True)))

EXECUTION_BY_ID = EXECUTION.where(_E.id == bindparam("execution_id"))

EXECUTIONS_BY_ID = EXECUTION.where(_E.id.in_(bindparam("execution_ids", expanding=True)))

HEED = select(_E.id, _E.attempt, _E.cancel_requested_at, _E.partial_asked).where(
    _E.id.in_(bindparam("execution_ids", expanding=True)),
    _E.status.in_([status.value for status in ACTIVE]),
    _E.deleted_at.is_(None),
)
"""What is worked on, and has to be heeded by who does."""

DELETE_KEYS = delete(idempotency).where(_K.execution_id.in_(bindparam("execution_ids", expanding=True)))

_UNFINISHED = _E.status.in_([status.value for status in UNFINISHED])

EXECUTIONS_IN = EXECUTION.where(_E.status.in_(bindparam("statuses", expanding=True))).order_by(_E.sequence)

UNFINISHED_COUNTS = select(_E.status, func.count().label("number")).where(_UNFINISHED).group_by(_E.status)
"""A row for each status that any execution has."""

UNFINISHED_OF = (
    select(_E.workflow_name, _E.status, func.count().label("number"))
    .where(_UNFINISHED, _E.workflow_name.in_(bindparam("workflow_names", expanding=True)))
    .group_by(_E.workflow_name, _E.status)
)
"""The same of some workflows, each for itself."""

SET_PROGRESS = (
    update(executions)
    .where(
        _E.id == bindparam("execution_id"),
        _E.attempt == bindparam("of_attempt"),
        _E.status.in_([status.value for status in ACTIVE]),
    )
    .values(progress=bindparam("new_progress", type_=_E.progress.type), version=_E.version + 1)
)

QUEUED = select(func.count()).select_from(executions).where(_E.status == ExecutionStatus.QUEUED.value)
"""How many executions wait."""

QUEUE = (
    select(_E.sequence)
    .where(_E.status == ExecutionStatus.QUEUED.value, _E.sequence <= bindparam("last"))
    .order_by(_E.sequence)
)
"""The queue up to one place, from the index alone: for many positions at once, cheaper than to count each."""

PING = select(literal(1))

_QUEUE_LOCK = 0x77696C6463617374
"""Among Postgres' advisory locks, which the whole database shares: "wildcast" in ASCII."""


def _queued_before() -> Select[int]:
    mine, other = executions.alias("mine"), executions.alias("other")
    queued = ExecutionStatus.QUEUED.value
    before = (
        select(func.count())
        .select_from(other)
        .where(other.c.status == queued, other.c.sequence < mine.c.sequence)
        .scalar_subquery()
    )
    return select(before).where(mine.c.id == bindparam("execution_id"), mine.c.status == queued)


QUEUE_POSITION = _queued_before()
"""One row with the number of queued executions before this one; none unless it is queued."""


def lock_queue(connection: Connection) -> None:
    """Let no other transaction that counts the queue in until this one ends; in SQLite every writer does that."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_QUEUE_LOCK)))


def change_execution(
    execution_id: str,
    sources: frozenset[ExecutionStatus],
    *,
    attempt: int | None,
    job: int | None,
    new_attempt: int | None,
) -> Update:
    """Build the compare-and-set of a status: it meets one row, or none if the execution stands elsewhere."""
    update_ = mark_execution(execution_id, sources)
    if attempt is not None:
        update_ = update_.where(_E.attempt == attempt)
    if job is not None:
        update_ = update_.where(_E.jobs == job)
    if new_attempt is not None:
        update_ = update_.where(_E.attempt < new_attempt)
    return update_


def mark_execution(execution_id: str, statuses: frozenset[ExecutionStatus], job: int | None = None) -> Update:
    """Build a compare-and-set: it meets one row, or none if the execution has another status or job, or is deleted."""
    marked = update(executions).where(
        _E.id == execution_id, _E.status.in_([status.value for status in statuses]), _E.deleted_at.is_(None)
    )
    return marked if job is None else marked.where(_E.jobs == job)


def begin_attempt(execution_id: str, job: int, *, reuse: bool, elsewhere: bool) -> Update:
    """Build the compare-and-set that lets an execution run, in its first attempt, in the same or in another one."""
    sources = frozenset({ExecutionStatus.QUEUED, ExecutionStatus.RUNNING})
    died = literal(0) if reuse else case((_E.status == ExecutionStatus.RUNNING.value, 1), else_=0)
    return (
        mark_execution(execution_id, sources)
        .where(_E.jobs == job, _E.cancel_requested_at.is_(None))
        .values(
            status=ExecutionStatus.RUNNING.value,
            attempt=_E.attempt + died,
            deaths=_E.deaths + died,
            place=_E.place + int(elsewhere),
            tries=0,
            progress=None,
            version=_E.version + 1,
        )
    )


def begin_try(execution_id: str, job: int) -> Update:
    """Build the compare-and-set that counts a try of publishing."""
    return (
        mark_execution(execution_id, frozenset({ExecutionStatus.PENDING_RESULTS}))
        .where(_E.jobs == job)
        .values(tries=_E.tries + 1, version=_E.version + 1)
    )
