"""The part of the records' port that is about what follows an execution's end."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from datetime import datetime

from wildcast_server.domain.execution import Execution
from wildcast_server.domain.outbox import Delivery, DeliveryLog, Removal
from wildcast_server.records.values import Effects


class OutboxRecords(ABC):
    """Expiry, and the outboxes of removals and deliveries.

    What is due is claimed by who is given it, for `lease_seconds`: nobody else is given it until then, and if nothing
    is heard of it, it is due again.
    """

    @abstractmethod
    def expire(self, now: datetime, *, limit: int, effects: Callable[[Execution], Effects]) -> list[Execution]:
        """Let results expire whose time has come and that are not pinned.

        Parameters
        ----------
        now
            Whose `expires_at` is later stays.
        limit
            How many at most, the oldest first.
        effects
            Says of each what follows, in the same transaction.

        Returns
        -------
        Those that are expired now.
        """

    @abstractmethod
    def expirable(self, now: datetime, *, limit: int) -> list[Execution]:
        """Return what `expire` would let expire; nothing is changed."""

    @abstractmethod
    def open_removals(self, *, site: str | None, limit: int) -> list[Removal]:
        """Return what is still to be removed, by anybody or this site, whenever it is due; nothing is claimed."""

    @abstractmethod
    def due_removals(self, now: datetime, *, site: str | None, lease_seconds: float, limit: int) -> list[Removal]:
        """Claim removals that anybody can do, or that this site can."""

    @abstractmethod
    def removed(self, removal_id: int) -> None:
        """Record that a removal is done."""

    @abstractmethod
    def removal_failed(self, removal_id: int, error: str, next_try_at: datetime | None) -> None:
        """Record why a removal failed, and when to try again; None gives it up."""

    @abstractmethod
    def give_up_removals(self, before: datetime, error: str, *, site: str) -> int:
        """Give up what only another site than this one can remove, and was due before that; return how much it was."""

    @abstractmethod
    def due_deliveries(self, now: datetime, *, lease_seconds: float, limit: int) -> list[Delivery]:
        """Claim deliveries."""

    @abstractmethod
    def delivered(self, delivery_id: int, *, status: int, at: datetime) -> None:
        """Record that a delivery was answered well."""

    @abstractmethod
    def delivery_failed(
        self, delivery_id: int, error: str, *, status: int | None, next_try_at: datetime | None
    ) -> None:
        """Record why a delivery failed, and when to try again; None gives it up."""

    @abstractmethod
    def deliveries(self, execution_id: str) -> list[DeliveryLog]:
        """Return how the deliveries of an execution stand, oldest first."""

    @abstractmethod
    def prunable(self, before: datetime, *, limit: int) -> list[Execution]:
        """Return what is expired or deleted, ended before then, and has nothing left to remove."""

    @abstractmethod
    def prune(self, execution_ids: Collection[str]) -> int:
        """Forget executions of which `prunable` told; return how many there were."""
