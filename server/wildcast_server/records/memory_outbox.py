"""Expiry and the outboxes in memory."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import Delivery, DeliveryLog, NewRemoval, Removal
from wildcast_server.records.memory_state import MemoryState, Tables, Task, add_effects, copied, seen
from wildcast_server.records.rules import in_utc, plain_text
from wildcast_server.records.values import Effects


class MemoryOutbox(MemoryState):
    """Lets results expire, and hands out what is due."""

    def expire(self, now: datetime, *, limit: int, effects: Callable[[Execution], Effects]) -> list[Execution]:
        with self._write() as tables:
            expired = []
            for execution in _expirable(tables, now)[:limit]:
                changed = execution.with_changes(status=ExecutionStatus.EXPIRED, version=execution.version + 1)
                tables.executions[execution.id] = changed
                add_effects(tables, changed, effects(copied(changed)))
                expired.append(copied(changed))
            return expired

    def expirable(self, now: datetime, *, limit: int) -> list[Execution]:
        with self._read() as tables:
            return [copied(execution) for execution in _expirable(tables, now)[:limit]]

    def open_removals(self, *, site: str | None, limit: int) -> list[Removal]:
        with self._read() as tables:
            tasks = [task for task in _removals_here(tables, site) if task.next_try_at is not None]
        return [_removal_of(task) for task in tasks[:limit]]

    def due_removals(self, now: datetime, *, site: str | None, lease_seconds: float, limit: int) -> list[Removal]:
        with self._write() as tables:
            claimed = _claim(tables.removals, _removals_here(tables, site), now, lease_seconds, limit)
        return [_removal_of(task) for task in claimed]

    def removed(self, removal_id: int) -> None:
        with self._write() as tables:
            _note(tables.removals, removal_id, next_try_at=None, last_error=None)

    def removal_failed(self, removal_id: int, error: str, next_try_at: datetime | None) -> None:
        with self._write() as tables:
            _note(tables.removals, removal_id, next_try_at=in_utc(next_try_at), last_error=plain_text(error))

    def give_up_removals(self, before: datetime, error: str, *, site: str) -> int:
        with self._write() as tables:
            given_up = [task.id for task in tables.removals.values() if _is_overdue(task, before, site)]
            for removal_id in given_up:
                _note(tables.removals, removal_id, next_try_at=None, last_error=plain_text(error))
        return len(given_up)

    def due_deliveries(self, now: datetime, *, lease_seconds: float, limit: int) -> list[Delivery]:
        with self._write() as tables:
            claimed = _claim(tables.deliveries, tables.deliveries.values(), now, lease_seconds, limit)
        return [
            Delivery(**asdict(task.what), id=task.id, execution_id=task.execution_id, tries=task.tries)
            for task in claimed
        ]

    def delivered(self, delivery_id: int, *, status: int, at: datetime) -> None:
        with self._write() as tables:
            done: dict[str, Any] = {
                "next_try_at": None,
                "last_error": None,
                "last_status": status,
                "delivered_at": in_utc(at),
            }
            _note(tables.deliveries, delivery_id, **done)

    def delivery_failed(
        self, delivery_id: int, error: str, *, status: int | None, next_try_at: datetime | None
    ) -> None:
        with self._write() as tables:
            _note(tables.deliveries, delivery_id, next_try_at=in_utc(next_try_at))
            _note(tables.deliveries, delivery_id, last_status=status, last_error=plain_text(error))

    def deliveries(self, execution_id: str) -> list[DeliveryLog]:
        with self._read() as tables:
            tasks = [task for task in tables.deliveries.values() if task.execution_id == execution_id]
        return [_log_of(task) for task in tasks]

    def prunable(self, before: datetime, *, limit: int) -> list[Execution]:
        with self._read() as tables:
            found = [each for each in tables.executions.values() if _is_prunable(tables, each, before)]
        return [copied(execution) for execution in found[:limit]]

    def prune(self, execution_ids: Collection[str]) -> int:
        with self._write() as tables:
            gone = {key for key in execution_ids if key in tables.executions and _is_over(tables.executions[key])}
            tables.executions = {key: each for key, each in tables.executions.items() if key not in gone}
            tables.keys = {key: used for key, used in tables.keys.items() if used.execution_id not in gone}
            tables.deliveries = {key: task for key, task in tables.deliveries.items() if task.execution_id not in gone}
            tables.removals = {
                key: task
                for key, task in tables.removals.items()
                if task.execution_id not in gone or task.next_try_at is not None
            }
            return len(gone)


def _expirable(tables: Tables, now: datetime) -> list[Execution]:
    due = sorted(
        (each.expires_at, each.sequence, each.id)
        for each in seen(tables)
        if each.expires_at is not None and each.expires_at <= now and _may_expire(each)
    )
    return [tables.executions[key] for _, _, key in due]


def _removals_here(tables: Tables, site: str | None) -> list[Task]:
    every = tables.removals.values()
    return [task for task in every if isinstance(task.what, NewRemoval) and task.what.site in (None, site)]


def _is_overdue(task: Task, before: datetime, site: str) -> bool:
    is_elsewhere = isinstance(task.what, NewRemoval) and task.what.site not in (None, site)
    return is_elsewhere and task.next_try_at is not None and task.next_try_at < before


def _removal_of(task: Task) -> Removal:
    return Removal(**asdict(task.what), id=task.id, requested_at=task.created_at, tries=task.tries)


def _may_expire(execution: Execution) -> bool:
    return execution.status.may_become(ExecutionStatus.EXPIRED) and not execution.pinned


def _is_over(execution: Execution) -> bool:
    return execution.status is ExecutionStatus.EXPIRED or execution.deleted_at is not None


def _is_prunable(tables: Tables, execution: Execution, before: datetime) -> bool:
    is_open = any(
        task.execution_id == execution.id and task.next_try_at is not None for task in tables.removals.values()
    )
    return _is_over(execution) and (execution.ended_at or execution.created_at) < before and not is_open


def _claim(
    tasks: dict[int, Task], candidates: Iterable[Task], now: datetime, lease_seconds: float, limit: int
) -> list[Task]:
    due = sorted(
        (task.next_try_at, task.id) for task in candidates if task.next_try_at is not None and task.next_try_at <= now
    )
    until = utc_now() + timedelta(seconds=lease_seconds)
    ids = sorted(key for _, key in due[:limit])
    for key in ids:
        tasks[key] = replace(tasks[key], next_try_at=until, tries=tasks[key].tries + 1)
    return [tasks[key] for key in ids]


def _note(tasks: dict[int, Task], task_id: int, **fields: Any) -> None:
    if task_id in tasks:
        tasks[task_id] = replace(tasks[task_id], **fields)


def _log_of(task: Task) -> DeliveryLog:
    new = asdict(task.what)
    return DeliveryLog(
        id=task.id,
        event=new["event"],
        url=new["url"],
        tries=task.tries,
        created_at=task.created_at,
        next_try_at=task.next_try_at,
        delivered_at=task.delivered_at,
        last_status=task.last_status,
        last_error=task.last_error,
    )
