"""Records that report what becomes of executions."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.domain.outbox import Delivery, DeliveryLog, Removal
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.metrics import Metrics
from wildcast_server.records.base import Records
from wildcast_server.records.rules import new_ones
from wildcast_server.records.values import (
    NOTHING_ELSE,
    UNLIMITED,
    Accepted,
    Changes,
    Effects,
    Heed,
    Limits,
    Marks,
    Page,
    PageQuery,
    Standing,
    Submission,
    WithinAll,
)


class ObservedRecords(Records):
    """Other records, and a count of what is accepted and of how it ends.

    Every change of a status is made through the records, whoever makes it: so here nothing is missed.
    """

    def __init__(self, records: Records, metrics: Metrics) -> None:
        self._records = records
        self._metrics = metrics

    def insert_all(
        self, submissions: Sequence[Submission], *, limits: Limits = UNLIMITED, within: WithinAll | None = None
    ) -> list[Accepted | Exception]:
        outcomes = self._records.insert_all(submissions, limits=limits, within=within)
        for accepted in new_ones(outcomes):
            self._metrics.submitted(accepted.execution.workflow_name)
        return outcomes

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
        execution = self._records.change(
            execution_id, expected=expected, to=to, attempt=attempt, job=job, limits=limits, effects=effects, **changes
        )
        self._metrics.ended(execution.workflow_name, to.value)
        if "published" in changes:
            self._published(changes["published"], execution.provenance)
        return execution

    def expire(self, now: datetime, *, limit: int, effects: Callable[[Execution], Effects]) -> list[Execution]:
        expired = self._records.expire(now, limit=limit, effects=effects)
        for execution in expired:
            self._metrics.ended(execution.workflow_name, execution.status.value)
        return expired

    def _published(self, record: PublicationRecord, provenance: Provenance | None) -> None:
        seconds = (provenance and provenance.publish_seconds) or (record.upload and record.upload.seconds) or 0.0
        self._metrics.published(record.storage_type, record.publication.files, record.publication.bytes, seconds)

    def get(self, execution_id: str, *, deleted: bool = False) -> Execution:
        return self._records.get(execution_id, deleted=deleted)

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
        return self._records.begin_attempt(
            execution_id,
            job=job,
            worker=worker,
            site=site,
            reuse=reuse,
            elsewhere=elsewhere,
            started_at=started_at,
            provenance=provenance,
        )

    def begin_try(self, execution_id: str, *, job: int, worker: str) -> Execution:
        return self._records.begin_try(execution_id, job=job, worker=worker)

    def mark(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        job: int | None = None,
        effects: Effects = NOTHING_ELSE,
        **marks: Unpack[Marks],
    ) -> Execution:
        return self._records.mark(execution_id, expected=expected, job=job, effects=effects, **marks)

    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        return self._records.set_progress(execution_id, attempt, progress)

    def heed(self, attempts: Mapping[str, int]) -> dict[str, Heed]:
        return self._records.heed(attempts)

    def queue_position(self, execution_id: str) -> int | None:
        return self._records.queue_position(execution_id)

    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        return self._records.standings(execution_ids)

    def page(self, query: PageQuery) -> Page:
        return self._records.page(query)

    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        return self._records.unfinished_counts()

    def unfinished(self, *among: ExecutionStatus) -> list[Execution]:
        return self._records.unfinished(*among)

    def register(self, worker: WorkerRow) -> None:
        self._records.register(worker)

    def beat(self, worker_id: str, token: str, state: WorkerState) -> bool:
        return self._records.beat(worker_id, token, state)

    def leave(self, worker_id: str, token: str) -> None:
        self._records.leave(worker_id, token)

    def workers(self) -> list[WorkerRow]:
        return self._records.workers()

    def overdue(self, seconds: float) -> list[str]:
        return self._records.overdue(seconds)

    def declare_lost(self, worker_id: str, seconds: float) -> bool:
        return self._records.declare_lost(worker_id, seconds)

    def forget_workers(self, seconds: float) -> None:
        self._records.forget_workers(seconds)

    def expirable(self, now: datetime, *, limit: int) -> list[Execution]:
        return self._records.expirable(now, limit=limit)

    def open_removals(self, *, site: str | None, limit: int) -> list[Removal]:
        return self._records.open_removals(site=site, limit=limit)

    def due_removals(self, now: datetime, *, site: str | None, lease_seconds: float, limit: int) -> list[Removal]:
        return self._records.due_removals(now, site=site, lease_seconds=lease_seconds, limit=limit)

    def removed(self, removal_id: int) -> None:
        self._records.removed(removal_id)

    def removal_failed(self, removal_id: int, error: str, next_try_at: datetime | None) -> None:
        self._records.removal_failed(removal_id, error, next_try_at)

    def give_up_removals(self, before: datetime, error: str, *, site: str) -> int:
        return self._records.give_up_removals(before, error, site=site)

    def due_deliveries(self, now: datetime, *, lease_seconds: float, limit: int) -> list[Delivery]:
        return self._records.due_deliveries(now, lease_seconds=lease_seconds, limit=limit)

    def delivered(self, delivery_id: int, *, status: int, at: datetime) -> None:
        self._records.delivered(delivery_id, status=status, at=at)

    def delivery_failed(
        self, delivery_id: int, error: str, *, status: int | None, next_try_at: datetime | None
    ) -> None:
        self._records.delivery_failed(delivery_id, error, status=status, next_try_at=next_try_at)

    def deliveries(self, execution_id: str) -> list[DeliveryLog]:
        return self._records.deliveries(execution_id)

    def prunable(self, before: datetime, *, limit: int) -> list[Execution]:
        return self._records.prunable(before, limit=limit)

    def prune(self, execution_ids: Collection[str]) -> int:
        return self._records.prune(execution_ids)

    def check(self) -> None:
        self._records.check()

    def close(self) -> None:
        self._records.close()
