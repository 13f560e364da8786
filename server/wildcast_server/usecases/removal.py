"""Removing what executions have left: objects of publications, and directories of this machine."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from wildcast.contract.manifest import ManifestError
from wildcast.contract.naming import join_key
from wildcast.contract.wire import StorageType
from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.outbox import Removal
from wildcast_server.errors import StoreError, UnknownExecutionError
from wildcast_server.publish.clearing import REQUESTS, remove_publication
from wildcast_server.publish.ledgers import Ledgers, remove
from wildcast_server.records import Records
from wildcast_server.store import ObjectStore
from wildcast_server.transfer.budget import Budget
from wildcast_server.usecases.computed import Marks
from wildcast_server.usecases.directories import remove_directory

logger = logging.getLogger(__name__)

LEASE_SECONDS = 3600.0
"""How long nobody else takes up a removal; doing one twice only costs requests."""

BATCH = 20

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=6)

MOST_TRIES_TO_FORGET = 20
"""How often a CDN is asked; that takes some days."""

AFTERWARDS = timedelta(minutes=10)
"""How long after it was asked for, what had begun to be stored is removed for the last time: requests that were in
flight then may be repeated for minutes, and succeed when the store is back."""

AHEAD = 100
"""How many places behind the last known one are looked at."""

RETRIED = "retried"
"""The reason of a removal whose execution goes on, at another place."""


class RemovalRefusedError(Exception):
    """Something that must not be removed, or cannot be now; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Remove:
    """Works off what is to be removed.

    What a manifest lists is deleted, and the manifest last: a kill in between leaves it, and whoever comes next goes
    on. Where there never was one, all that lies below the execution's own name is what it had begun to store.

    Parameters
    ----------
    stores
        Where the publications of each storage type lie.
    prefix
        What every publication's prefix begins with.
    output_root
        Where this machine has output directories.
    site
        The disk that they are on.
    ledgers
        Of the publications made on this machine.
    forget
        Lets a CDN forget all keys that begin with the first argument; the second one is the same where a removal is
        repeated, and another for each removal.
    budget
        Bounds the requests in flight.
    afterwards
        As `AFTERWARDS`.
    ahead
        How long before it is due something is done.
    batch
        How many are taken up at a time; what fails is taken up again by the next batch, if it is due by then.
    """

    records: Records
    stores: Mapping[StorageType, ObjectStore]
    output_root: Path
    site: str
    prefix: str = ""
    ledgers: Ledgers = field(default_factory=lambda: Ledgers(None, ""))
    forget: Callable[[str, str], None] = lambda _beginning, _reference: None
    budget: Budget = field(default_factory=lambda: Budget(REQUESTS, REQUESTS))
    afterwards: timedelta = AFTERWARDS
    ahead: timedelta = timedelta()
    batch: int = BATCH
    clock: Callable[[], datetime] = utc_now

    def __call__(self) -> int:
        """Do what is due; return how much of it is done. What fails is due again later."""
        done = 0
        while True:
            lease = LEASE_SECONDS - self.ahead.total_seconds()
            due = self.records.due_removals(
                self.clock() + self.ahead, site=self.site, lease_seconds=lease, limit=self.batch
            )
            done += sum(map(self._do, due))
            if len(due) < self.batch:
                return done

    def _do(self, removal: Removal) -> bool:
        try:
            self._remove(removal, may_be_known=self._may_be_known(removal))
        except (StoreError, ManifestError, OSError, RemovalRefusedError) as error:
            again = self.clock() + pause_after(removal.tries)
            self.records.removal_failed(removal.id, str(error), again)
            logger.warning("%s (%s) could not be removed: %s", removal.name, removal.reason, error)
            return False
        again = removal.requested_at + self.afterwards
        if removal.prefix is not None and not removal.committed and self.clock() < again:
            self.records.removal_failed(removal.id, "looked at once more, for what was on its way to the store", again)
            return True
        self.records.removed(removal.id)
        logger.info("%s removed: %s", removal.prefix or removal.name, removal.reason)
        return True

    def _may_be_known(self, removal: Removal) -> bool:
        """Hold that it is the execution's own, and that nobody works on it; whether anybody may have read it."""
        own = re.fullmatch(f"{re.escape(removal.execution_id)}(-[0-9]+)?", removal.name)
        if own is None or (removal.prefix is not None and removal.prefix.rpartition("/")[2] != removal.name):
            raise RemovalRefusedError(f"it is not a name of {removal.execution_id}")
        try:
            execution = self.records.get(removal.execution_id, deleted=True)
        except UnknownExecutionError:
            return True
        if not execution.status.is_final and execution.name == removal.name:
            raise RemovalRefusedError(f"{execution.id} is {execution.status}")
        return removal.committed or execution.partial_asked

    def _remove(self, removal: Removal, *, may_be_known: bool) -> None:
        if removal.prefix is None:
            self._remove_directory(removal)
            return
        store = self.stores.get(removal.storage_type)
        if store is None:
            raise RemovalRefusedError("object storage is off, and it lies there")
        remove_publication(store, removal.prefix, self.budget, committed=removal.committed)
        self._forget_ledgers(removal.prefix, removal.attempt)
        base = removal.prefix[: -len(removal.name)]
        self._remove_others(store, removal, base)
        if removal.storage_type == "s3" and may_be_known:
            # Last, or what is read meanwhile would be cached again; its other places begin with the id as well.
            self._let_forget(removal, base + removal.execution_id)

    def _let_forget(self, removal: Removal, beginning: str) -> None:
        try:
            self.forget(beginning, f"wildcast {removal.execution_id} {removal.id}")
        except StoreError:
            if removal.tries < MOST_TRIES_TO_FORGET:
                raise
            logger.exception("%s is removed; edges may serve their copies of it until these are old", removal.prefix)

    def _remove_others(self, store: ObjectStore, removal: Removal, base: str) -> None:
        """Remove what the publication had begun at other places, when one was taken or had been read already."""
        _, _, text = removal.name[len(removal.execution_id) :].partition("-")
        number = int(text or 1)
        if removal.committed:
            for place in range(1, number):
                self._remove_place(store, removal, base, place)
        elif removal.reason != RETRIED:
            for place in range(number + 1, number + 1 + AHEAD):
                if not self._remove_place(store, removal, base, place):
                    return

    def _remove_place(self, store: ObjectStore, removal: Removal, base: str, place: int) -> bool:
        prefix = base + removal.execution_id + ("" if place == 1 else f"-{place}")
        was_there = remove_publication(store, prefix, self.budget, committed=False)
        self._forget_ledgers(prefix, removal.attempt)
        return was_there

    def _remove_directory(self, removal: Removal) -> None:
        if not remove_directory(self.output_root / removal.name):
            logger.warning("%s stays: there is more in it than was published", self.output_root / removal.name)
        self._forget_ledgers(join_key(self.prefix, removal.name), removal.attempt)
        Marks(self.output_root).remove(removal.name)

    def _forget_ledgers(self, prefix: str, attempt: int) -> None:
        """Remove the ledgers of a publication, which only this machine's are here."""
        remove(self.ledgers.uploaded(prefix))
        for number in range(1, attempt + 1):
            remove(self.ledgers.streamed(prefix, number))


def pause_after(tries: int) -> timedelta:
    """Return how long to wait after so many failures: half a minute at first, then twice as long each time."""
    return min(FIRST_PAUSE * float(2 ** min(tries - 1, 20)), LONGEST_PAUSE)
