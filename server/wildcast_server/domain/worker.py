"""A worker, as the records keep it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from wildcast_server.domain.execution import utc_now


class WorkerState(StrEnum):
    """How a worker stands."""

    UP = "up"
    """It takes work."""
    DRAINING = "draining"
    """It takes no more, and ends."""
    LOST = "lost"
    """It was not heard of for too long; what it held is given to others."""
    LEFT = "left"
    """It ended in order; what it took in its last moment all the same is given to others."""


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A worker process."""

    id: str
    """The same after a restart in the same place."""
    token: str = field(repr=False)
    """Of this process alone: who registers under an id replaces who did before."""
    host: str
    pid: int
    instance: str
    """Of its data directory."""
    site: str
    """Of the disk that it writes its outputs to."""
    queues: tuple[str, ...]
    state: WorkerState = WorkerState.UP
    started_at: datetime = field(default_factory=utc_now)
    heartbeat_at: datetime = field(default_factory=utc_now)
    """By the database's clock, where it has one."""
