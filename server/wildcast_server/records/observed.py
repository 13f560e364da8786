"""Records that report what becomes of executions."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections.abc import Collection
from typing import Any, Unpack

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, PublicationRecord
from wildcast_server.metrics import Metrics
from wildcast_server.records.base import Changes, Records, Standing


class ObservedRecords(Records):
    """Other records, and a count of what is accepted and of how it ends.

    Every change of a status is made through the records, whoever makes it: so here nothing is missed.
    """

    def __init__(self, records: Records, metrics: Metrics) -> None:
        self._records = records
        self._metrics = metrics

    def insert(self, execution: Execution, *, max_queued: int | None = None) -> int:
        queued = self._records.insert(execution, max_queued=max_queued)
        self._metrics.submitted(execution.workflow_name)
        return queued

    def change(
        self,
        execution_id: str,
        *,
        expected: ExecutionStatus | Collection[ExecutionStatus],
        to: ExecutionStatus,
        attempt: int | None = None,
        **changes: Unpack[Changes],
    ) -> Execution:
        execution = self._records.change(execution_id, expected=expected, to=to, attempt=attempt, **changes)
        self._metrics.ended(execution.workflow_name, to.value)
        if "published" in changes:
            self._published(changes["published"], execution.provenance)
        return execution

    def _published(self, record: PublicationRecord, provenance: Provenance | None) -> None:
        seconds = (provenance and provenance.publish_seconds) or (record.upload and record.upload.seconds) or 0.0
        self._metrics.published(record.storage_type, record.publication.files, record.publication.bytes, seconds)

    def get(self, execution_id: str) -> Execution:
        return self._records.get(execution_id)

    def set_progress(self, execution_id: str, attempt: int, progress: dict[str, Any]) -> bool:
        return self._records.set_progress(execution_id, attempt, progress)

    def queue_position(self, execution_id: str) -> int | None:
        return self._records.queue_position(execution_id)

    def standings(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        return self._records.standings(execution_ids)

    def unfinished_counts(self) -> dict[ExecutionStatus, int]:
        return self._records.unfinished_counts()

    def unfinished(self) -> list[Execution]:
        return self._records.unfinished()

    def check(self) -> None:
        self._records.check()

    def close(self) -> None:
        self._records.close()
