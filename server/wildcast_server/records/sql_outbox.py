"""Expiry and the outboxes in a database."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, select, update

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import Delivery, DeliveryLog, Removal
from wildcast_server.records import outbox_queries as queries
from wildcast_server.records.rows import (
    delivery_log_of,
    delivery_of,
    delivery_rows,
    execution_of,
    removal_of,
    removal_rows,
)
from wildcast_server.records.rules import in_utc, plain_text
from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.tables import deliveries, removals
from wildcast_server.records.values import Effects


class SqlOutbox(SqlDatabase):
    """Lets results expire, and hands out what is due."""

    def expire(self, now: datetime, *, limit: int, effects: Callable[[Execution], Effects]) -> list[Execution]:
        with self._write() as connection:
            found = connection.execute(queries.EXPIRABLE_LOCKED, {"now": now, "limit": limit}).mappings().all()
            due = [execution_of(row) for row in found]
            if due:
                connection.execute(queries.EXPIRE, {"sequences": [execution.sequence for execution in due]})
            expired = [
                execution.with_changes(status=ExecutionStatus.EXPIRED, version=execution.version + 1)
                for execution in due
            ]
            for execution in expired:
                add_effects(connection, execution, effects(execution))
            return expired

    def expirable(self, now: datetime, *, limit: int) -> list[Execution]:
        with self._read() as connection:
            rows = connection.execute(queries.EXPIRABLE, {"now": now, "limit": limit}).mappings()
            return [execution_of(row) for row in rows]

    def open_removals(self, *, site: str | None, limit: int) -> list[Removal]:
        with self._read() as connection:
            return [removal_of(row) for row in connection.execute(queries.open_removals(site, limit)).mappings()]

    def due_removals(self, now: datetime, *, site: str | None, lease_seconds: float, limit: int) -> list[Removal]:
        return [removal_of(row) for row in self._claim(removals, queries.due_removals(now, site, limit), lease_seconds)]

    def removed(self, removal_id: int) -> None:
        self._note(removals, removal_id, next_try_at=None, last_error=None)

    def removal_failed(self, removal_id: int, error: str, next_try_at: datetime | None) -> None:
        self._note(removals, removal_id, next_try_at=in_utc(next_try_at), last_error=plain_text(error))

    def give_up_removals(self, before: datetime, error: str, *, site: str) -> int:
        with self._write() as connection:
            values = {"before": before, "error": plain_text(error), "here": site}
            return connection.execute(queries.GIVE_UP_REMOVALS, values).rowcount

    def due_deliveries(self, now: datetime, *, lease_seconds: float, limit: int) -> list[Delivery]:
        return [delivery_of(row) for row in self._claim(deliveries, queries.due_deliveries(now, limit), lease_seconds)]

    def delivered(self, delivery_id: int, *, status: int, at: datetime) -> None:
        self._note(
            deliveries, delivery_id, next_try_at=None, last_error=None, last_status=status, delivered_at=in_utc(at)
        )

    def delivery_failed(
        self, delivery_id: int, error: str, *, status: int | None, next_try_at: datetime | None
    ) -> None:
        self._note(
            deliveries,
            delivery_id,
            next_try_at=in_utc(next_try_at),
            last_error=plain_text(error),
            last_status=status,
        )

    def deliveries(self, execution_id: str) -> list[DeliveryLog]:
        with self._read() as connection:
            rows = connection.execute(queries.DELIVERIES_OF, {"execution_id": execution_id}).mappings()
            return [delivery_log_of(row) for row in rows]

    def prunable(self, before: datetime, *, limit: int) -> list[Execution]:
        with self._read() as connection:
            rows = connection.execute(queries.PRUNABLE, {"before": before, "limit": limit}).mappings()
            return [execution_of(row) for row in rows]

    def prune(self, execution_ids: Collection[str]) -> int:
        with self._write() as connection:
            wanted = {"execution_ids": list(execution_ids)}
            connection.execute(queries.DELETE_DONE_REMOVALS, wanted)
            return connection.execute(queries.DELETE_EXECUTIONS, wanted).rowcount

    def _claim(self, table: Table, due: Select[Any], lease_seconds: float) -> Sequence[RowMapping]:
        """Take what is due; nobody else has it before the lease ends."""
        with self._write() as connection:
            ids = list(connection.execute(due).scalars())
            if not ids:
                return []
            until = utc_now() + timedelta(seconds=lease_seconds)
            claimed: ColumnElement[bool] = table.c.id.in_(ids)
            connection.execute(update(table).where(claimed).values(next_try_at=until, tries=table.c.tries + 1))
            return connection.execute(select(table).where(claimed).order_by(table.c.id)).mappings().all()

    def _note(self, table: Table, task_id: int, **values: Any) -> None:
        with self._write() as connection:
            connection.execute(update(table).where(table.c.id == task_id).values(**values))


def add_effects(connection: Connection, execution: Execution, effects: Effects) -> None:
    """Let happen what follows from a change of an execution."""
    if effects.deliveries:
        connection.execute(deliveries.insert(), delivery_rows(execution.id, effects.deliveries))
    if effects.removals:
        connection.execute(removals.insert(), removal_rows(effects.removals))
    if effects.within is not None:
        effects.within(execution, connection)
