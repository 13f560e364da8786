"""Workers in a database."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, func, literal, or_, select, update

from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.records.rows import worker_of, worker_row
from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.tables import workers

_W = workers.c

_OVER = (WorkerState.LOST.value, WorkerState.LEFT.value)


class SqlWorkers(SqlDatabase):
    """Registers workers and hears of them."""

    def register(self, worker: WorkerRow) -> None:
        with self._write() as connection:
            connection.execute(delete(workers).where(_W.id == worker.id))
            row = {**worker_row(worker), "heartbeat_at": _now(connection)}
            connection.execute(workers.insert().values(row))

    def beat(self, worker_id: str, token: str, state: WorkerState) -> bool:
        with self._write() as connection:
            heard = (
                update(workers)
                .where(_W.id == worker_id, _W.token == token, _W.state.not_in(_OVER))
                .values(heartbeat_at=_now(connection), state=state.value)
            )
            return connection.execute(heard).rowcount == 1

    def leave(self, worker_id: str, token: str) -> None:
        with self._write() as connection:
            left = update(workers).where(_W.id == worker_id, _W.token == token).values(state=WorkerState.LEFT.value)
            connection.execute(left)

    def workers(self) -> list[WorkerRow]:
        with self._read() as connection:
            there = select(workers).where(_W.state != WorkerState.LEFT.value).order_by(_W.id)
            return [worker_of(row) for row in connection.execute(there).mappings()]

    def overdue(self, seconds: float) -> list[str]:
        with self._read() as connection:
            query = select(_W.id).where(_is_overdue(connection, seconds)).order_by(_W.id)
            return list(connection.execute(query).scalars())

    def declare_lost(self, worker_id: str, seconds: float) -> bool:
        with self._write() as connection:
            lost = (
                update(workers)
                .where(_W.id == worker_id, _is_overdue(connection, seconds))
                .values(state=case((_W.state == WorkerState.LEFT.value, _W.state), else_=WorkerState.LOST.value))
            )
            return connection.execute(lost).rowcount == 1

    def forget_workers(self, seconds: float) -> None:
        with self._write() as connection:
            connection.execute(delete(workers).where(_W.state.in_(_OVER), _is_silent(connection, seconds)))


def _now(connection: Connection) -> ColumnElement[Any]:
    """Return the database's time, which all workers share; SQLite is on this machine."""
    if connection.dialect.name == "sqlite":
        return literal(utc_now(), type_=_W.heartbeat_at.type)
    # Not the transaction's beginning: it may have waited.
    return func.clock_timestamp()


def _is_overdue(connection: Connection, seconds: float) -> ColumnElement[bool]:
    return or_(_W.state.in_(_OVER), _is_silent(connection, seconds))


def _is_silent(connection: Connection, seconds: float) -> ColumnElement[bool]:
    now = utc_now() if connection.dialect.name == "sqlite" else func.clock_timestamp()
    return _W.heartbeat_at < now - timedelta(seconds=seconds)
