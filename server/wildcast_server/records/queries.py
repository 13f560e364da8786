"""Every query on the records, by name. Values are bound when it is executed."""

from sqlalchemy import ColumnElement, Connection, Select, Update, and_, bindparam, func, insert, literal, select, update

from wildcast.contract.status import ExecutionStatus
from wildcast_server.records.base import ACTIVE, UNFINISHED
from wildcast_server.records.tables import executions, publications

_E, _P = executions.c, publications.c

INSERT_EXECUTION = insert(executions)
INSERT_PUBLICATION = insert(publications)

EXECUTION = select(
    executions,
    *(column for column in _P if column.name not in ("execution_id", "attempt")),
).select_from(executions.outerjoin(publications, and_(_P.execution_id == _E.id, _P.attempt == _E.attempt)))
"""Executions with the publication of their current attempt; its columns are null where there is none."""

EXECUTION_BY_ID = EXECUTION.where(_E.id == bindparam("execution_id"))

EXECUTIONS_BY_ID = EXECUTION.where(_E.id.in_(bindparam("execution_ids", expanding=True)))

_UNFINISHED = _E.status.in_([status.value for status in UNFINISHED])

UNFINISHED_EXECUTIONS = EXECUTION.where(_UNFINISHED).order_by(_E.sequence)

UNFINISHED_COUNTS = select(_E.status, func.count().label("number")).where(_UNFINISHED).group_by(_E.status)
"""A row for each status that any execution has."""

SET_PROGRESS = (
    update(executions)
    .where(
        _E.id == bindparam("execution_id"),
        _E.attempt == bindparam("of_attempt"),
        _E.status.in_([status.value for status in ACTIVE]),
    )
    .values(progress=bindparam("new_progress", type_=_E.progress.type))
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
    execution_id: str, sources: frozenset[ExecutionStatus], attempt: int | None, new_attempt: int | None
) -> Update:
    """Build the compare-and-set of a status: it meets one row, or none if the execution stands elsewhere."""
    conditions: list[ColumnElement[bool]] = [
        _E.id == execution_id,
        _E.status.in_([status.value for status in sources]),
    ]
    if attempt is not None:
        conditions.append(_E.attempt == attempt)
    if new_attempt is not None:
        conditions.append(_E.attempt < new_attempt)
    return update(executions).where(*conditions)
