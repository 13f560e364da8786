"""Between the rows of the tables and the values of the domain."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Any

import msgspec
from sqlalchemy import RowMapping, func, literal

from wildcast.contract.manifest import Dataset
from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance, Publication, Upload
from wildcast_server.domain.execution import Execution, PublicationRecord, utc_now
from wildcast_server.domain.outbox import Delivery, DeliveryLog, NewDelivery, NewRemoval, Removal
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.records.rules import in_utc, plain_json, plain_text
from wildcast_server.records.tables import executions
from wildcast_server.records.values import Changes, Marks

_DATASETS = tuple[Dataset, ...]

_PLAIN: dict[str, Callable[[Any], Any]] = {
    "progress": plain_json,
    "error_message": plain_text,
    "started_at": in_utc,
    "ended_at": in_utc,
    "provenance": msgspec.to_builtins,
    "cancel_requested_at": in_utc,
    "expires_at": in_utc,
}
"""How a column's value is made ready for it."""


def execution_row(execution: Execution) -> dict[str, Any]:
    """Make the row of a new execution."""
    return {
        "id": execution.id,
        "workflow_name": execution.workflow_name,
        "parameters": plain_json(execution.parameters),
        "owner": execution.owner,
        "status": execution.status.value,
        "attempt": execution.attempt,
        "created_at": in_utc(execution.created_at),
        "started_at": in_utc(execution.started_at),
        "ended_at": in_utc(execution.ended_at),
        "progress": plain_json(execution.progress),
        "error_message": plain_text(execution.error_message),
        "provenance": msgspec.to_builtins(execution.provenance),
        "version": execution.version,
        "jobs": execution.jobs,
        "tries": execution.tries,
        "place": execution.place,
        "worker": execution.worker,
        "site": execution.site,
        "failed_step": execution.failed_step,
        "cancel_requested_at": in_utc(execution.cancel_requested_at),
        "partial_asked": execution.partial_asked,
        "labels": plain_json(dict(execution.labels)) or None,
        "retention_seconds": execution.retention_seconds,
        "pinned": execution.pinned,
        "expires_at": in_utc(execution.expires_at),
        "deleted_at": in_utc(execution.deleted_at),
        "webhook": execution.webhook,
        "deaths": execution.deaths,
    }


def label_rows(execution: Execution) -> list[dict[str, Any]]:
    """Make the rows by which an execution that is recorded is found by its labels."""
    return [
        {"sequence": execution.sequence, "name": name, "value": value, "created_at": execution.created_at}
        for name, value in execution.labels.items()
    ]


def changed_columns(to: ExecutionStatus, changes: Changes) -> dict[str, Any]:
    """Make the columns of an execution's row that a change sets."""
    columns = {
        name: _PLAIN[name](value) if name in _PLAIN else value for name, value in changes.items() if name != "published"
    }
    if "new_attempt" in columns:
        columns["attempt"] = columns.pop("new_attempt")
    if columns.pop("new_job", False):
        columns["jobs"] = executions.c.jobs + 1
    return {**columns, "status": to.value, "version": executions.c.version + 1}


def marked_columns(marks: Marks) -> dict[str, Any]:
    """Make the columns of an execution's row that marks set."""
    columns: dict[str, Any] = {"version": executions.c.version + 1}
    if marks.get("cancel"):
        # Whoever asked first is remembered.
        columns["cancel_requested_at"] = func.coalesce(
            executions.c.cancel_requested_at, literal(utc_now(), type_=executions.c.cancel_requested_at.type)
        )
    if marks.get("partial"):
        columns["partial_asked"] = True
    if "pinned" in marks:
        columns["pinned"] = marks["pinned"]
    if "expires_at" in marks:
        columns["expires_at"] = in_utc(marks["expires_at"])
    if "deleted_at" in marks:
        columns["deleted_at"] = in_utc(marks["deleted_at"])
    if marks.get("new_job"):
        columns["jobs"] = executions.c.jobs + 1
    return columns


def publication_row(execution_id: str, published: PublicationRecord) -> dict[str, Any]:
    """Make the row of a publication that is committed now."""
    publication, upload = published.publication, published.upload
    return {
        "execution_id": execution_id,
        "attempt": publication.attempt,
        "storage_type": published.storage_type,
        "prefix": publication.prefix,
        "files": publication.files,
        "bytes": publication.bytes,
        "manifest": publication.manifest,
        "verified": publication.verified,
        "datasets": msgspec.to_builtins(published.datasets),
        "upload_seconds": upload and upload.seconds,
        "upload_bytes_per_second": upload and upload.bytes_per_second,
        "committed_at": utc_now(),
    }


def worker_row(worker: WorkerRow) -> dict[str, Any]:
    """Make a worker's row."""
    row = asdict(worker)
    return {**row, "queues": list(worker.queues), "state": worker.state.value}


def worker_of(row: RowMapping) -> WorkerRow:
    """Read a worker's row."""
    return WorkerRow(**{**row, "queues": tuple(row["queues"]), "state": WorkerState(row["state"])})


def delivery_rows(execution_id: str, new: Iterable[NewDelivery]) -> list[dict[str, Any]]:
    """Make rows of deliveries that are due at once."""
    now = utc_now()
    return [
        {**asdict(delivery), "execution_id": execution_id, "created_at": now, "next_try_at": now, "tries": 0}
        for delivery in new
    ]


def delivery_of(row: RowMapping) -> Delivery:
    """Read the row of a delivery that was claimed."""
    return Delivery(**{name: row[name] for name in _names(Delivery)})


def delivery_log_of(row: RowMapping) -> DeliveryLog:
    """Read how a delivery stands."""
    return DeliveryLog(**{name: row[name] for name in _names(DeliveryLog)})


def removal_rows(new: Iterable[NewRemoval]) -> list[dict[str, Any]]:
    """Make rows of removals that are due at once."""
    now = utc_now()
    return [{**asdict(removal), "requested_at": now, "next_try_at": now, "tries": 0} for removal in new]


def removal_of(row: RowMapping) -> Removal:
    """Read the row of a removal that was claimed."""
    return Removal(**{name: row[name] for name in _names(Removal)})


def _names(kind: type[Delivery | DeliveryLog | Removal]) -> list[str]:
    return [field.name for field in fields(kind)]


def execution_of(row: RowMapping) -> Execution:
    """Read a row of `queries.EXECUTION`: an execution and, if it has one, its publication."""
    return Execution(
        id=row["id"],
        workflow_name=row["workflow_name"],
        parameters=row["parameters"],
        owner=row["owner"],
        status=ExecutionStatus(row["status"]),
        attempt=row["attempt"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        progress=row["progress"],
        error_message=row["error_message"],
        provenance=msgspec.convert(row["provenance"], Provenance | None),
        published=None if row["storage_type"] is None else _publication_of(row),
        sequence=row["sequence"],
        version=row["version"],
        jobs=row["jobs"],
        tries=row["tries"],
        place=row["place"],
        worker=row["worker"],
        site=row["site"],
        failed_step=row["failed_step"],
        cancel_requested_at=row["cancel_requested_at"],
        partial_asked=row["partial_asked"],
        labels=row["labels"] or {},
        retention_seconds=row["retention_seconds"],
        pinned=row["pinned"],
        expires_at=row["expires_at"],
        deleted_at=row["deleted_at"],
        webhook=row["webhook"],
        deaths=row["deaths"],
    )


def _publication_of(row: RowMapping) -> PublicationRecord:
    seconds, speed = row["upload_seconds"], row["upload_bytes_per_second"]
    return PublicationRecord(
        storage_type=row["storage_type"],
        publication=Publication(
            prefix=row["prefix"],
            attempt=row["attempt"],
            files=row["files"],
            bytes=row["bytes"],
            manifest=row["manifest"],
            verified=row["verified"],
        ),
        datasets=msgspec.convert(row["datasets"], _DATASETS),
        upload=None if seconds is None or speed is None else Upload(seconds=seconds, bytes_per_second=speed),
    )
