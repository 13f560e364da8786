"""Records in a database."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

import msgspec
from sqlalchemy import Connection

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution
from wildcast_server.records import queries
from wildcast_server.records.base import Records
from wildcast_server.records.rows import (
    changed_columns,
    execution_of,
    marked_columns,
    publication_row,
)
from wildcast_server.records.rules import (
    GONE,
    check_attempt,
    check_new,
    check_published,
    conflict,
    in_utc,
    legal_sources,
    new_ones,
    plain_json,
    statuses_of,
    unknown,
)
from wildcast_server.records.sql_insertion import Insertion, admit
from wildcast_server.records.sql_outbox import SqlOutbox, add_effects
from wildcast_server.records.sql_pages import SqlPages
from wildcast_server.records.sql_workers import SqlWorkers
from wildcast_server.records.values import (
    NOTHING_ELSE,
    UNFINISHED,
    UNLIMITED,
    Accepted,
    Changes,
    Effects,
    Heed,
    Limits,
    Marks,
    Standing,
    Submission,
    WithinAll,
)


class SqlRecords(SqlPages, SqlWorkers, SqlOutbox, Records):
    """Records in a database whose schema is in place; `close` disposes of its engine."""

    def insert_all(
        self, submissions: Sequence[Submission], *, limits: Limits = UNLIMITED, within: WithinAll | None = None
    ) -> list[Accepted | Exception]:
        for submission in submissions:
            check_new(submission.execution)
        with self._write() as connection:
            outcomes = Insertion(connection, submissions, limits).record_all()
            recorded = [accepted.execution for accepted in new_ones(outcomes)]
            if within is not None and recorded:
                within(recorded, connection)
            return outcomes

    def get(self, execution_id: str, *, deleted: bool = False) -> Execution:
        with self._read() as connection:
            return _find(connection, execution_id, deleted=deleted)

    def change(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        to: ExecutionStatus,
        attempt: int | None = None,
        job: int | None = None,
        limits: Limits = UNLIMITED,
        effects: Effects = NOTHING_ELSE,
        **changes: Unpack[Changes],
    ) -> Execution:
        check_published(to, changes)
        update = queries.change_execution(
            execution_id, legal_sources(expected, to), attempt=attempt, job=job, new_attempt=changes.get("new_attempt")
        )
        with self._write() as connection:
            if limits is not UNLIMITED:
                admit(connection, _find(connection, execution_id), limits)
            met = connection.execute(update.values(changed_columns(to, changes))).rowcount
            if not met:
                raise conflict(_find(connection, execution_id), f"change to {to}")
            if "published" in changes:
                check_attempt(_find(connection, execution_id), changes)
                connection.execute(queries.INSERT_PUBLICATION, publication_row(execution_id, changes["published"]))
            return _affected(connection, execution_id, effects)

    def begin_attempt(
        self,
        execution_id: str,
        *,
        job: int,
        worker: str,
        site: str,
        reuse: bool,
        elsewhere: bool,
        started_at: datetime,
        provenance: Provenance | None = None,
    ) -> Execution:
        update = queries.begin_attempt(execution_id, job, reuse=reuse, elsewhere=elsewhere).values(
            worker=worker,
            site=site,
            started_at=in_utc(started_at),
            provenance=msgspec.to_builtins(provenance),
        )
        with self._write() as connection:
            if not connection.execute(update).rowcount:
                raise conflict(_find(connection, execution_id), "beginning of an attempt")
            return _find(connection, execution_id)

    def begin_try(self, execution_id: str, *, job: int, worker: str) -> Execution:
        with self._write() as connection:
            if not connection.execute(queries.begin_try(execution_id, job).values(worker=worker)).rowcount:
                raise conflict(_find(connection, execution_id), "try of publishing")
            return _find(connection, execution_id)

    def mark(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        job: int | None = None,
        effects: Effects = NOTHING_ELSE,
        **marks: Unpack[Marks],
    ) -> Execution:
        update = queries.mark_execution(execution_id, statuses_of(expected), job)
        with self._write() as connection:
            if not connection.execute(update.values(marked_columns(marks))).rowcount:
                raise conflict(_find(connection, execution_id), "change")
            if marks.get("deleted_at") is not None:
                connection.execute(queries.DELETE_KEYS, {"execution_ids": [execution_id]})
            return _affected(connection, execution_id, effects)

    def heed(self, attempts: Mapping[str, int]) -> dict[str, Heed]:
        with self._read() as connection:
            rows = connection.execute(queries.HEED, {"execution_ids": list(attempts)}).all()
        found = {
            row.id: Heed(row.attempt == attempts[row.id], row.cancel_requested_at is not None, row.partial_asked)
            for row in rows
        }
        return {key: found.get(key, GONE) for key in attempts}

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
            found = connection.execute(queries.EXECUTIONS_BY_ID, ids).mappings()
            rows = [row for row in found if row["deleted_at"] is None]
            waiting = [row["sequence"] for row in rows if row["status"] == ExecutionStatus.QUEUED.value]
            queue = connection.execute(queries.QUEUE, {"last": max(waiting)}).scalars().all() if waiting else []
        return {row["id"]: Standing(execution_of(row), _place(queue, row["sequence"])) for row in rows}

    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        with self._read() as connection:
            found = {row.status: row.number for row in connection.execute(queries.UNFINISHED_COUNTS)}
        return {status: found.get(status.value, 0) for status in UNFINISHED}

    def unfinished(self, *among: ExecutionStatus) -> list[Execution]:
        statuses = [status.value for status in among or UNFINISHED]
        with self._read() as connection:
            found = connection.execute(queries.EXECUTIONS_IN, {"statuses": statuses})
            return [execution_of(row) for row in found.mappings()]

    def check(self) -> None:
        with self._read() as connection:
            connection.execute(queries.PING)

    def close(self) -> None:
        self._engine.dispose()


def _place(queue: Sequence[int], sequence: int) -> int | None:
    """Return where in the queue, which is in order, an execution waits; None if it does not, or not any more."""
    place = bisect_left(queue, sequence)
    return place if place < len(queue) and queue[place] == sequence else None


def _find(connection: Connection, execution_id: str, *, deleted: bool = False) -> Execution:
    row = connection.execute(queries.EXECUTION_BY_ID, {"execution_id": execution_id}).mappings().one_or_none()
    if row is None or (row["deleted_at"] is not None and not deleted):
        raise unknown(execution_id)
    return execution_of(row)


def _affected(connection: Connection, execution_id: str, effects: Effects) -> Execution:
    """Let happen what follows from a change; return the execution after it."""
    execution = _find(connection, execution_id, deleted=True)
    add_effects(connection, execution, effects)
    return execution
