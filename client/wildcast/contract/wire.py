"""The bodies that the API sends, as typed values.

Existing clients depend on these names; members that a field's docstring calls ours are additions that they ignore.
Times are UTC and travel as ISO 8601 with offset.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from wildcast.contract.manifest import Dataset, Manifest, Verification
from wildcast.contract.policy import shorten_signature
from wildcast.contract.status import ExecutionStatus

StorageType = Literal["server", "s3"]
"""``s3``: read by signed URL, whatever the store's scheme; ``server``: the API itself serves the files."""


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a submission."""

    workflow_name: str
    execution_id: str
    status: ExecutionStatus
    position: int | None
    """How many executions are queued before this one; null once it runs."""
    message: str
    timestamp: datetime


class TransferStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far publishing has come (ours): the member ``publication`` of a status's progress.

    While a workflow still computes, the totals are of what it has written so far.
    """

    files_done: int
    files_total: int
    bytes_done: int
    """Acknowledged by the store, or found there."""
    bytes_total: int
    bytes_per_second: float | None = None
    """Null before there is a rate."""
    seconds_left: float | None = None
    """What the rest will take at this rate; null while there is none."""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a status request."""

    workflow_name: str
    execution_id: str
    status: ExecutionStatus
    position: int | None
    progress: dict[str, Any] | None
    """Null, or all of ``progress, current_step, total_steps`` (each may be null) and the workflow's own fields."""
    start_time: datetime | None
    end_time: datetime | None
    execution_time_seconds: float | None
    error_message: str | None
    metadata: dict[str, Any] | None

    @property
    def publishing(self) -> TransferStatus | None:
        """How far publishing has come; None before it begins, and of a server that does not tell."""
        try:
            return msgspec.convert((self.progress or {}).get("publication"), TransferStatus | None)
        except msgspec.ValidationError:
            # A workflow of another server may call anything of its own a publication.
            return None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A page of executions, the newest first (ours)."""

    executions: tuple[StatusAnswer, ...]
    next_cursor: str | None
    """Where the list goes on; null on the last page."""


class OutputFile(msgspec.Struct, frozen=True, gc=False):
    """A file of a result."""

    path: str
    """Begins with the execution's id."""
    size: int
    """In bytes."""


def files_of(manifest: Manifest, name: str) -> tuple[OutputFile, ...]:
    """List a manifest's files as clients expect them, each below the publication's `name`."""
    return tuple(OutputFile(path=f"{name}/{row.path}", size=row.size) for row in manifest.rows)


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """The published form of an output directory (ours)."""

    prefix: str
    attempt: int
    files: int
    bytes: int
    manifest: str
    """The manifest's key, relative to the store."""
    verified: Verification


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What publishing took (ours)."""

    seconds: float
    bytes_per_second: float


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What ran: where, in which versions, and what it took (ours). A member is null where it is not known."""

    host: str
    wildcast: str
    """The version of wildcast that ran it."""
    python: str
    platform: str
    """Operating system and machine, as ``platform.platform()`` names them."""
    workflow_sha256: str | None
    """Of the workflow's file when it was loaded, in hexadecimal."""
    device: str | None
    """The accelerator, as the workflow reports it or as the process used it."""
    peak_memory_bytes: int | None
    """Of the process's resident memory during the run."""
    queued_seconds: float | None
    """From the submission to the start."""
    compute_seconds: float | None
    """Of the workflow alone."""
    publish_seconds: float | None
    """From the workflow's end to the verified commit."""


class ResultMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a completed execution has published, and how to read it."""

    request_id: str
    status: ExecutionStatus
    completion_time: datetime | None
    execution_time_seconds: float | None
    workflow_name: str | None
    created_at: datetime | None
    parameters: dict[str, Any]
    storage_type: StorageType
    remote_path: str | None
    signed_url: str | None
    """For the whole publication: ``<base>/*?<query>``. Signed when asked for, never stored."""
    output_files: tuple[OutputFile, ...]
    peak_memory_usage: int | None = None
    """In bytes."""
    device: str | None = None
    expires_at: datetime | None = None
    """When `signed_url` ends (ours)."""
    publication: Publication | None = None
    datasets: tuple[Dataset, ...] = ()
    upload: Upload | None = None
    provenance: Provenance | None = None
    """What ran (ours)."""
    partial: bool = False
    """Whether these are the files that are there so far, while the execution still runs (ours)."""
    next_files_cursor: str | None = None
    """Where `output_files` goes on, if it is a page and not the last one (ours)."""
    result_expires_at: datetime | None = None
    """When the results are removed (ours)."""
    pinned: bool = False
    """Whether the results are kept however old they are (ours)."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show everything but the signature, which is a secret until it ends."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        return list({**shown, "signed_url": self.signed_url and shorten_signature(self.signed_url)}.items())

    def __repr__(self) -> str:
        """Show everything but the signature."""
        return f"ResultMetadata({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class SignedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A signature for a publication or a part of it: a URL, or cookies for a domain and path (ours)."""

    url: str | None = None
    cookies: dict[str, str] | None = None
    domain: str | None = None
    path: str | None = None
    expires_at: datetime

    def __repr__(self) -> str:
        """Show neither URL nor cookies, which are secrets until they end."""
        return f"SignedAnswer(domain={self.domain!r}, path={self.path!r}, expires_at={self.expires_at!r})"


class DeliveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the delivery of an event to a webhook stands (ours); its URL, which may be a secret, is not told."""

    id: int
    event: str
    created_at: datetime
    tries: int
    delivered_at: datetime | None
    """When the webhook answered with 2xx; null before that."""
    next_try_at: datetime | None
    """Null where it is delivered, or given up."""
    last_status: int | None
    """The HTTP status of the last answer; null without one."""
    last_error: str | None


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    """What an execution's webhook was told, and how that went, the oldest first (ours)."""

    deliveries: tuple[DeliveryStatus, ...]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is."""

    status: str
    """``healthy`` or ``unhealthy``."""
    timestamp: datetime | None = None
    error: str | None = None
    """What cannot be used, in one sentence (ours)."""

    @property
    def is_healthy(self) -> bool:
        """Whether it takes requests."""
        return self.status == "healthy"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a stream of them (ours)."""

    status: ExecutionStatus
    error_message: str | None


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request for results that are not there yet."""

    message: str
    status: ExecutionStatus


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Every error's body."""

    error: str
    """What went wrong, in one sentence."""
    details: Any = None
    """Machine-readable particulars, such as the fields that are invalid."""
    detail: Any = None
    """The same for readers that know FastAPI's form."""
