"""Records in memory, for tests and for what needs no history."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

import threading
from collections.abc import Collection
from typing import Any, Unpack

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.records.base import ACTIVE, UNFINISHED, Changes, Records, Standing
from wildcast_server.records.rules import (
    check_attempt,
    check_new,
    check_published,
    check_queue,
    conflict,
    doubled,
    in_utc,
    legal_sources,
    plain_json,
    plain_text,
    unknown,
)


class MemoryRecords(Records):
    """Records that end with the process; the same behaviour as `SqlRecords`."""

    def __init__(self) -> None:
        self._executions: dict[str, Execution] = {}
        self._lock = threading.Lock()

    def insert(self, execution: Execution, *, max_queued: int | None = None) -> int:
        check_new(execution)
        with self._lock:
            queued = len(self._queued())
            if max_queued is not None:
                check_queue(queued, max_queued)
            if execution.id in self._executions:
                raise doubled(execution.id)
            self._executions[execution.id] = _copied(execution)
            return queued

    def get(self, execution_id: str) -> Execution:
        with self._lock:
            return _copied(self._find(execution_id))

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
        with self._lock:
            execution = self._find(execution_id)
            fits = execution.status in legal_sources(expected, to) and attempt in (None, execution.attempt)
            if not fits or changes.get("new_attempt", execution.attempt + 1) <= execution.attempt:
                raise conflict(execution, to)
            check_attempt(execution, changes)
            changed = _copied(execution.with_changes(status=to, **_fields(changes)))
            self._executions[execution_id] = changed
            return _copied(changed)

    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        with self._lock:
            execution = self._executions.get(execution_id)
            if execution is None or execution.status not in ACTIVE or execution.attempt != attempt:
                return False
            self._executions[execution_id] = _copied(execution.with_changes(progress=progress))
            return True

    def queue_position(self, execution_id: str) -> int | None:
        with self._lock:
            queued = self._queued()
        return queued.index(execution_id) if execution_id in queued else None

    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        with self._lock:
            places = {key: place for place, key in enumerate(self._queued())}
            return {
                key: Standing(_copied(self._executions[key]), places.get(key))
                for key in execution_ids
                if key in self._executions
            }

    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        with self._lock:
            statuses = [execution.status for execution in self._executions.values()]
        return {status: statuses.count(status) for status in UNFINISHED}

    def unfinished(self) -> list[Execution]:
        with self._lock:
            return [_copied(execution) for execution in self._executions.values() if execution.status in UNFINISHED]

    def check(self) -> None:
        return

    def close(self) -> None:
        return

    def _queued(self) -> list[str]:
        return [key for key, value in self._executions.items() if value.status is ExecutionStatus.QUEUED]

    def _find(self, execution_id: str) -> Execution:
        try:
            return self._executions[execution_id]
        except KeyError:
            raise unknown(execution_id) from None


def _fields(changes: Changes) -> dict[str, Any]:
    fields: dict[str, Any] = dict(changes)
    if "new_attempt" in fields:
        fields["attempt"] = fields.pop("new_attempt")
        # The publication of an earlier attempt is not this attempt's.
        fields["published"] = None
    return fields


def _copied(execution: Execution) -> Execution:
    """Return a copy that shares nothing that could change, as a database would give it."""
    return execution.with_changes(
        parameters=plain_json(execution.parameters),
        progress=plain_json(execution.progress),
        error_message=plain_text(execution.error_message),
        created_at=in_utc(execution.created_at),
        started_at=in_utc(execution.started_at),
        ended_at=in_utc(execution.ended_at),
    )
