"""The rules of a change that every implementation of the port keeps."""

import json
import math
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import QueueFullError, RecordError, StatusConflictError, UnknownExecutionError
from wildcast_server.records.base import Changes

RETRY_AFTER_SECONDS = 30
"""When to try a full queue again: a workflow's run takes minutes, and a place is free when one begins."""


def legal_sources(
    expected: ExecutionStatus | Collection[ExecutionStatus], to: ExecutionStatus
) -> frozenset[ExecutionStatus]:
    """Return those of the `expected` statuses that may become `to`."""
    statuses = {expected} if isinstance(expected, ExecutionStatus) else set(expected)
    return frozenset(status for status in statuses if status.may_become(to))


def check_published(to: ExecutionStatus, changes: Changes) -> None:
    """Hold that an execution is completed with a publication, and never otherwise; raises `ValueError`."""
    if ("published" in changes) != (to is ExecutionStatus.COMPLETED):
        raise ValueError("a publication is recorded when, and only when, its execution becomes completed")


def check_attempt(execution: Execution, changes: Changes) -> None:
    """Hold that a publication is the current attempt's; raises `ValueError`."""
    if "published" in changes and changes["published"].publication.attempt != execution.attempt:
        raise ValueError(
            f"the publication is of attempt {changes['published'].publication.attempt}, "
            f"and execution {execution.id} is in attempt {execution.attempt}"
        )


def check_new(execution: Execution) -> None:
    """Hold that a new execution has no publication yet; raises `ValueError`."""
    if execution.published is not None:
        raise ValueError(f"execution {execution.id} cannot begin with a publication")


def check_queue(queued: int, max_queued: int) -> None:
    """Hold that one more may wait; raises `QueueFullError`."""
    if queued >= max_queued:
        raise QueueFullError(
            f"{queued} executions are waiting, and the server lets no more than {max_queued} wait: "
            f"submit again in {RETRY_AFTER_SECONDS} seconds or later",
            RETRY_AFTER_SECONDS,
        )


def conflict(execution: Execution, to: ExecutionStatus) -> StatusConflictError:
    """Say where the execution really stands."""
    return StatusConflictError(
        f"execution {execution.id} is {execution.status} in attempt {execution.attempt}; "
        f"this change to {to} cannot be made from there"
    )


def unknown(execution_id: str) -> UnknownExecutionError:
    """Say that there is none."""
    return UnknownExecutionError(f"there is no execution {execution_id!r}")


def doubled(execution_id: str) -> RecordError:
    """Say that there is one already."""
    return RecordError(f"there is an execution {execution_id!r} already")


def plain_json(value: Any) -> Any:
    """Return a copy of `value` as any JSON column can hold it; what is not finite becomes null (RFC 8259 §6)."""
    return json.loads(json.dumps(_finite(value)))


def plain_text(value: str | None) -> str | None:
    """Return `value` as any text column can hold it: without NUL and lone surrogates."""
    if value is None:
        return None
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


def in_utc(time: datetime | None) -> datetime | None:
    """Return the same moment in UTC; raises `ValueError` for a time without a zone, which could be any."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError("a time in the records must know its zone")
    return time.astimezone(UTC)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
