"""The rules of a change that every implementation of the port keeps."""

import json
import math
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import RecordError, StatusConflictError, UnknownExecutionError
from wildcast_server.records.values import Accepted, Changes, Heed, Page, Position

GONE = Heed(is_current=False, cancel=False, partial=False)
"""What is said of an attempt that nobody should work on any more."""


def statuses_of(expected: ExecutionStatus | Collection[ExecutionStatus]) -> frozenset[ExecutionStatus]:
    """Return the statuses that are expected."""
    return frozenset({expected} if isinstance(expected, ExecutionStatus) else expected)


def new_ones(outcomes: Iterable[Accepted | Exception]) -> Iterator[Accepted]:
    """Return those that were recorded now."""
    return (outcome for outcome in outcomes if isinstance(outcome, Accepted) and outcome.is_new)


def as_page(found: list[Execution], limit: int) -> Page:
    """Make a page of at most `limit` executions; if more were found, there is another page."""
    shown = found[:limit]
    following = Position(shown[-1].created_at, shown[-1].sequence) if len(found) > limit else None
    return Page(shown, following)


def legal_sources(
    expected: ExecutionStatus | Collection[ExecutionStatus], to: ExecutionStatus
) -> frozenset[ExecutionStatus]:
    """Return those of the `expected` statuses that may become `to`."""
    return frozenset(status for status in statuses_of(expected) if status.may_become(to))


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


def conflict(execution: Execution, what: str) -> StatusConflictError:
    """Say where the execution really stands, so that this cannot be done."""
    stopping = ", to be cancelled" if execution.cancel_requested_at is not None else ""
    return StatusConflictError(
        f"execution {execution.id} is {execution.status} in attempt {execution.attempt}{stopping}; "
        f"this {what} cannot be made from there"
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
