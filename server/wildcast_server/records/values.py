"""What goes into the records and comes out of them, beside executions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypedDict

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import Provenance
from wildcast_server.domain.execution import Execution, FailedStep, PublicationRecord
from wildcast_server.domain.outbox import NewDelivery, NewRemoval
from wildcast_server.settings import WorkflowLimits

UNFINISHED = (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS)
"""What a restart has to take up again."""

ACTIVE = (ExecutionStatus.RUNNING, ExecutionStatus.PENDING_RESULTS)
"""What has progress."""

Within = Callable[[Execution, Any], None]
"""Done in the transaction that changes the execution, which it is given as it is then; the second argument is the
connection, None in memory. What it raises undoes the change. It may not use the records themselves."""

WithinAll = Callable[[Sequence[Execution], Any], None]
"""The same for new executions, all at once: there is at least one."""


class Changes(TypedDict, total=False):
    """What may change along with a status; a name that is left out stays as it is."""

    started_at: datetime | None
    ended_at: datetime | None
    progress: dict[str, Any] | None
    error_message: str | None
    provenance: Provenance | None
    new_attempt: int
    """Begins another attempt; it must be higher than the current one."""
    published: PublicationRecord
    """Of the current attempt; given when, and only when, the execution becomes `completed`."""
    new_job: bool
    """True counts `jobs` up: another job becomes the current one."""
    deaths: int
    tries: int
    place: int
    worker: str | None
    site: str | None
    failed_step: FailedStep | None
    cancel_requested_at: datetime | None
    expires_at: datetime | None


class Marks(TypedDict, total=False):
    """What may change without a change of status; a name that is left out stays as it is."""

    cancel: bool
    """True notes that the execution is to be cancelled; the first time stays."""
    partial: bool
    """True notes that somebody wants to read results before the end."""
    pinned: bool
    expires_at: datetime | None
    deleted_at: datetime | None
    """Hides the execution from everything but `get` with `deleted`, and frees its idempotency key."""
    new_job: bool
    """True counts `jobs` up: another job becomes the current one, which `Effects.within` enqueues."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What follows from a change, in its transaction: all of it or nothing."""

    within: Within | None = None
    deliveries: Sequence[NewDelivery] = ()
    removals: Sequence[NewRemoval] = ()


NOTHING_ELSE = Effects()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many executions may wait or be unfinished when another one is recorded; None is no bound."""

    max_queued: int | None = None
    per_workflow: Mapping[str, WorkflowLimits] = field(default_factory=dict)


UNLIMITED = Limits()


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An execution that is to be recorded."""

    execution: Execution
    """With `jobs` at 1 where `within` enqueues its first one."""
    key: str | None = None
    """Of its owner: with the same one, the same execution comes back."""
    fingerprint: str = ""
    """Of the request: with the same key, another one is refused."""


class Accepted(NamedTuple):
    """A submission that was recorded, now or before under the same key."""

    execution: Execution
    position: int | None
    """How many queued executions were submitted before it; None if it is not queued any more."""
    is_new: bool


class Standing(NamedTuple):
    """Where an execution stands."""

    execution: Execution
    position: int | None
    """How many queued executions were submitted before it; None unless it is queued itself."""


class Heed(NamedTuple):
    """What who works on an attempt has to heed."""

    is_current: bool
    """Whether the execution is still running, or being published, in this attempt."""
    cancel: bool
    """Whether it is to be cancelled."""
    partial: bool
    """Whether somebody wants to read results before the end."""


class Position(NamedTuple):
    """A place in the list of executions, which is ordered by both."""

    created_at: datetime
    sequence: int


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Which executions are listed: those that meet all of this, the newest first."""

    workflow: str | None = None
    ids: frozenset[str] = frozenset()
    """Any of these; empty is any at all."""
    statuses: frozenset[ExecutionStatus] = frozenset()
    """Any of these; empty is any at all."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Each of these."""
    owner: str | None = None
    since: datetime | None = None
    """Submitted then or later."""
    until: datetime | None = None
    """Submitted before then."""
    before: Position | None = None
    """Behind this place in the list: `Page.next` of the page before."""
    limit: int = 50


class Page(NamedTuple):
    """Some of the executions that were asked for."""

    executions: list[Execution]
    next: Position | None
    """Where the list goes on; None at its end."""
