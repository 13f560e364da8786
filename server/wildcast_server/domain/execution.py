"""An execution: one run of a workflow, as the records keep it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from wildcast.contract.manifest import Dataset
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance, Publication, StorageType, Upload

ANONYMOUS = "anonymous"
"""The owner of what was submitted without an identity."""


def utc_now() -> datetime:
    """Now, aware of its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class PublicationRecord:
    """What the records keep of a verified publication; its rows are in the manifest."""

    storage_type: StorageType
    publication: Publication
    datasets: tuple[Dataset, ...]
    upload: Upload | None


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One run of a workflow. Times are UTC."""

    id: str
    workflow_name: str
    parameters: dict[str, Any]
    """Validated, as JSON values."""
    owner: str = ANONYMOUS
    status: ExecutionStatus = ExecutionStatus.QUEUED
    attempt: int = 1
    """The current try of the computation, from 1."""
    created_at: datetime = field(default_factory=utc_now)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: dict[str, Any] | None = None
    error_message: str | None = None
    published: PublicationRecord | None = None
    provenance: Provenance | None = None
    """What ran in the current attempt, as far as it is known."""

    @property
    def seconds(self) -> float | None:
        """From start to end, or until now while it runs; None before the start."""
        if self.started_at is None:
            return None
        return ((self.ended_at or utc_now()) - self.started_at).total_seconds()

    def with_changes(self, **changes: Any) -> "Execution":
        """Return a copy with some fields replaced."""
        return replace(self, **changes)
