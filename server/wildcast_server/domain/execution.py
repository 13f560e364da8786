"""An execution: one run of a workflow, as the records keep it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from wildcast.contract.manifest import Dataset
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance, Publication, StorageType, Upload

ANONYMOUS = "anonymous"
"""The owner of what was submitted without an identity."""

FailedStep = Literal["compute", "publish"]
"""What an execution failed in."""


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
    sequence: int = field(default=0, compare=False)
    """The order of submission, from 1; the records give it, and it is 0 until then."""
    version: int = 0
    """Grows with every change and every progress."""
    jobs: int = 0
    """How many jobs were enqueued for it; the last one is the current one."""
    deaths: int = 0
    """How often, since it was submitted or retried, a computation died with its process, or its output was lost."""
    tries: int = 0
    """How often publishing the current attempt has begun."""
    place: int = 1
    """Grows whenever its output goes elsewhere, since who wrote to the place before may still do so."""
    worker: str | None = None
    """Who runs, or ran, the current attempt."""
    site: str | None = None
    """The disk on which the output directory of the current attempt is."""
    failed_step: FailedStep | None = None
    cancel_requested_at: datetime | None = None
    partial_asked: bool = False
    """Whether somebody wants to read results before the end."""
    labels: Mapping[str, str] = field(default_factory=dict)
    retention_seconds: int | None = None
    """How long after its end the results are kept; None for as long as the settings say."""
    pinned: bool = False
    """Whether the results are kept however old they are."""
    expires_at: datetime | None = None
    """When the results are removed."""
    deleted_at: datetime | None = None
    webhook: str | None = field(default=None, repr=False)
    """Who is told of the end; it may hold a token."""

    @property
    def job_id(self) -> str:
        """The id of its current job."""
        return f"{self.id}.{self.jobs}"

    @property
    def name(self) -> str:
        """The name of its output directory, and of its publication: the last part of the prefix."""
        return self.id if self.place == 1 else f"{self.id}-{self.place}"

    @property
    def seconds(self) -> float | None:
        """From start to end, or until now while it runs; None before the start."""
        if self.started_at is None:
            return None
        return ((self.ended_at or utc_now()) - self.started_at).total_seconds()

    def may_begin_again(self, max_attempts: int) -> bool:
        """Whether it is begun once more when its computation has died, or its output is lost, now."""
        return self.deaths + 1 < max_attempts

    def with_changes(self, **changes: Any) -> "Execution":
        """Return a copy with some fields replaced."""
        return replace(self, **changes)
