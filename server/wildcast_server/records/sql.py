"""Records in a database."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.records import queries
from wildcast_server.records.base import UNFINISHED, Changes, Records, Standing
from wildcast_server.records.engine import reading, translated
from wildcast_server.records.rows import changed_columns, execution_of, execution_row, publication_row
from wildcast_server.records.rules import (
    check_attempt,
    check_new,
    check_published,
    check_queue,
    conflict,
    doubled,
    legal_sources,
    plain_json,
    unknown,
)


class SqlRecords(Records):
    """Records in a database whose schema is in place.

    Parameters
    ----------
    engine
        From `open_engine`; `close` disposes of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    def insert(self, execution: Execution, *, max_queued: int | None = None) -> int:
        check_new(execution)
        with self._write() as connection:
            if max_queued is not None:
                queries.lock_queue(connection)
            queued = connection.execute(queries.QUEUED).scalar_one()
            if max_queued is not None:
                check_queue(queued, max_queued)
            try:
                connection.execute(queries.INSERT_EXECUTION, execution_row(execution))
            except IntegrityError as error:
                raise doubled(execution.id) from error
            return queued

    def get(self, execution_id: str) -> Execution:
        with self._read() as connection:
            return _find(connection, execution_id)

    def change(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        to: ExecutionStatus,
        attempt: int | None = None,
        **changes: Unpack[Changes],
    ) -> Execution:
        check_published(to, changes)
        update = queries.change_execution(
            execution_id, legal_sources(expected, to), attempt, changes.get("new_attempt")
        )
        with self._write() as connection:
            met = connection.execute(update.values(changed_columns(to, changes))).rowcount
            if not met:
                raise conflict(_find(connection, execution_id), to)
            if "published" in changes:
                check_attempt(_find(connection, execution_id), changes)
                connection.execute(queries.INSERT_PUBLICATION, publication_row(execution_id, changes["published"]))
            return _find(connection, execution_id)

    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        values = {"execution_id": execution_id, "of_attempt": attempt, "new_progress": plain_json(progress)}
        with self._write() as connection:
            return connection.execute(queries.SET_PROGRESS, values).rowcount == 1

    def queue_position(self, execution_id: str) -> int | None:
        with self._read() as connection:
            return connection.execute(queries.QUEUE_POSITION, {"execution_id": execution_id}).scalar_one_or_none()

    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        with self._read() as connection:
            ids = {"execution_ids": list(execution_ids)}
            rows = connection.execute(queries.EXECUTIONS_BY_ID, ids).mappings().all()
            waiting = [row["sequence"] for row in rows if row["status"] == ExecutionStatus.QUEUED.value]
            queue = connection.execute(queries.QUEUE, {"last": max(waiting)}).scalars().all() if waiting else []
        return {row["id"]: Standing(execution_of(row), _place(queue, row["sequence"])) for row in rows}

    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        with self._read() as connection:
            found = {row.status: row.number for row in connection.execute(queries.UNFINISHED_COUNTS)}
        return {status: found.get(status.value, 0) for status in UNFINISHED}

    def unfinished(self) -> list[Execution]:
        with self._read() as connection:
            return [execution_of(row) for row in connection.execute(queries.UNFINISHED_EXECUTIONS).mappings()]

    def check(self) -> None:
        with self._read() as connection:
            connection.execute(queries.PING)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._reading.connect() as connection:
            yield connection


def _place(queue: Sequence[int], sequence: int) -> int | None:
    """Return where in the queue, which is in order, an execution waits; None if it does not, or not any more."""
    place = bisect_left(queue, sequence)
    return place if place < len(queue) and queue[place] == sequence else None


def _find(connection: Connection, execution_id: str) -> Execution:
    row = connection.execute(queries.EXECUTION_BY_ID, {"execution_id": execution_id}).mappings().one_or_none()
    if row is None:
        raise unknown(execution_id)
    return execution_of(row)
