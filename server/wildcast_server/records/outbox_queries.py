"""The queries of expiry, of the outboxes, and of what may be forgotten, by name."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, delete, func, literal, or_, select, update

from wildcast.contract.status import ExecutionStatus
from wildcast_server.records.queries import EXECUTION
from wildcast_server.records.tables import NOT_EXPIRED, deliveries, executions, removals
from wildcast_server.records.values import UNFINISHED

_E, _R, _D = executions.c, removals.c, deliveries.c

_TIME = _E.created_at.type

_IDS: BindParameter[str] = bindparam("execution_ids", expanding=True)

_EXPIRABLE = (
    select(_E.sequence)
    .where(
        _E.expires_at <= bindparam("now", type_=_TIME),
        NOT_EXPIRED,
        # Not "is one of": that would be looked up in an index of statuses, and nearly all have one of these.
        _E.status.not_in([status.value for status in UNFINISHED]),
        _E.pinned.is_(False),
        _E.deleted_at.is_(None),
    )
    .order_by(_E.expires_at, _E.sequence)
    .limit(bindparam("limit"))
)


def _expiring(sequences: Select[Any]) -> Select[Any]:
    return EXECUTION.where(_E.sequence.in_(sequences.scalar_subquery())).order_by(_E.expires_at, _E.sequence)


EXPIRABLE = _expiring(_EXPIRABLE)

EXPIRABLE_LOCKED = _expiring(_EXPIRABLE.with_for_update(skip_locked=True))
"""The same, locked until the transaction ends; what others have locked is left to them."""

EXPIRE = (
    update(executions)
    .where(_E.sequence.in_(bindparam("sequences", expanding=True)))
    .values(status=ExecutionStatus.EXPIRED.value, version=_E.version + 1)
)

DELIVERIES_OF = select(deliveries).where(_D.execution_id == bindparam("execution_id")).order_by(_D.id)

# SQLite looks up in an index what is greater than something, and not what is not null.
_IS_OVER = or_(_E.status == ExecutionStatus.EXPIRED.value, _E.deleted_at > datetime.fromtimestamp(0, UTC))

_IS_OPEN = _R.next_try_at.is_not(None)

_PRUNABLE = (
    select(_E.sequence)
    .where(
        _IS_OVER,
        func.coalesce(_E.ended_at, _E.created_at) < bindparam("before", type_=_TIME),
        ~select(literal(1)).select_from(removals).where(_R.execution_id == _E.id, _IS_OPEN).exists(),
    )
    .limit(bindparam("limit"))
)

PRUNABLE = EXECUTION.where(_E.sequence.in_(_PRUNABLE.scalar_subquery())).order_by(_E.sequence)
"""What is expired or deleted and has nothing left to remove."""

GIVE_UP_REMOVALS = (
    update(removals)
    .where(_R.next_try_at < bindparam("before", type_=_TIME), _R.site != bindparam("here"))
    .values(next_try_at=None, last_error=bindparam("error"))
)
"""Where no site is named, anybody can do it, and the comparison is null."""

DELETE_DONE_REMOVALS = delete(removals).where(_R.execution_id.in_(_IDS), ~_IS_OPEN)

DELETE_EXECUTIONS = delete(executions).where(_E.id.in_(_IDS), _IS_OVER)


def open_removals(site: str | None, limit: int) -> Select[Any]:
    """Build the query of the removals that are still to be done here."""
    return select(removals).where(_IS_OPEN, _here(site)).order_by(_R.id).limit(limit)


def due_removals(now: datetime, site: str | None, limit: int) -> Select[Any]:
    """Build the query of the removals that are due here; what others are claiming is left to them."""
    due = select(_R.id).where(_R.next_try_at <= now, _here(site))
    return due.order_by(_R.next_try_at, _R.id).limit(limit).with_for_update(skip_locked=True)


def due_deliveries(now: datetime, limit: int) -> Select[Any]:
    """Build the query of the deliveries that are due; what others are claiming is left to them."""
    due = select(_D.id).where(_D.next_try_at <= now)
    return due.order_by(_D.next_try_at, _D.id).limit(limit).with_for_update(skip_locked=True)


def _here(site: str | None) -> ColumnElement[bool]:
    return _R.site.is_(None) if site is None else or_(_R.site.is_(None), _R.site == site)
