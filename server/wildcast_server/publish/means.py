"""What a publication is made with, and what is wanted of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wildcast_server.publish.ledgers import Ledgers
from wildcast_server.publish.published import Clock
from wildcast_server.store.base import ObjectStore
from wildcast_server.transfer.engine import Transfer
from wildcast_server.transfer.files import ProgressCallback


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a publisher publishes with."""

    store: ObjectStore
    transfer: Transfer
    gentle: Transfer
    """For uploads while a workflow computes."""
    prefix: str
    ledgers: Ledgers
    observe: Callable[[], ProgressCallback] | None
    """Makes the observer of one publication."""
    clock: Clock
    stopwatch: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be published, and as what."""

    directory: Path
    name: str
    attempt: int
    owner: str | None
    afresh: bool
    """Whether the directory is still to be written, so that nothing of an earlier attempt counts."""
    first: int = 1
    """Number of the first place to look at."""
    may_be_seen: bool = False
    """Whether somebody has asked to read it while it is made."""
