"""What records in memory hold, for each part of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import NewDelivery, NewRemoval
from wildcast_server.domain.worker import WorkerRow
from wildcast_server.records.rules import in_utc, plain_json, plain_text, unknown
from wildcast_server.records.values import Effects


class Key(NamedTuple):
    """An idempotency key that was used."""

    fingerprint: str
    execution_id: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something in an outbox."""

    id: int
    execution_id: str
    what: NewDelivery | NewRemoval
    created_at: datetime
    next_try_at: datetime | None
    tries: int = 0
    delivered_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None


@dataclass
class Tables:
    """What a database would have as tables. Values are never changed, so that a shallow copy is a snapshot."""

    executions: dict[str, Execution] = field(default_factory=dict)
    keys: dict[tuple[str, str], Key] = field(default_factory=dict)
    workers: dict[str, WorkerRow] = field(default_factory=dict)
    deliveries: dict[int, Task] = field(default_factory=dict)
    removals: dict[int, Task] = field(default_factory=dict)
    last_sequence: int = 0
    last_task: int = 0


class MemoryState:
    """The tables, and transactions on them."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._lock = threading.RLock()

    @contextmanager
    def _read(self) -> Iterator[Tables]:
        with self._lock:
            yield self._tables

    @contextmanager
    def _write(self) -> Iterator[Tables]:
        """Give tables that take the place of the present ones at the end, unless something is raised."""
        with self._lock:
            now = self._tables
            new = Tables(
                dict(now.executions),
                dict(now.keys),
                dict(now.workers),
                dict(now.deliveries),
                dict(now.removals),
                now.last_sequence,
                now.last_task,
            )
            yield new
            self._tables = new


def find(tables: Tables, execution_id: str, *, deleted: bool = False) -> Execution:
    """Look up an execution; raises `UnknownExecutionError`."""
    execution = tables.executions.get(execution_id)
    if execution is None or (execution.deleted_at is not None and not deleted):
        raise unknown(execution_id)
    return execution


def seen(tables: Tables) -> list[Execution]:
    """Return all that are not deleted, in the order of submission."""
    return [execution for execution in tables.executions.values() if execution.deleted_at is None]


def queued(tables: Tables) -> list[str]:
    """Return the ids of those that wait, in the order of submission."""
    return [execution.id for execution in seen(tables) if execution.status is ExecutionStatus.QUEUED]


def add_effects(tables: Tables, execution: Execution, effects: Effects) -> None:
    """Let happen what follows from a change of an execution."""
    now = utc_now()
    for delivery in effects.deliveries:
        tables.last_task += 1
        tables.deliveries[tables.last_task] = Task(
            id=tables.last_task, execution_id=execution.id, what=delivery, created_at=now, next_try_at=now
        )
    for removal in effects.removals:
        tables.last_task += 1
        tables.removals[tables.last_task] = Task(
            id=tables.last_task, execution_id=removal.execution_id, what=removal, created_at=now, next_try_at=now
        )
    if effects.within is not None:
        effects.within(copied(execution), None)


def copied(execution: Execution) -> Execution:
    """Return a copy that shares nothing that could change, as a database would give it."""
    return execution.with_changes(
        parameters=plain_json(execution.parameters),
        progress=plain_json(execution.progress),
        error_message=plain_text(execution.error_message),
        labels=plain_json(dict(execution.labels)),
        created_at=in_utc(execution.created_at),
        started_at=in_utc(execution.started_at),
        ended_at=in_utc(execution.ended_at),
        cancel_requested_at=in_utc(execution.cancel_requested_at),
        expires_at=in_utc(execution.expires_at),
        deleted_at=in_utc(execution.deleted_at),
    )
