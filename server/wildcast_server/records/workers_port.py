"""The part of the records' port that is about workers."""

from abc import ABC, abstractmethod

from wildcast_server.domain.worker import WorkerRow, WorkerState


class WorkerRecords(ABC):
    """Which workers there are, and when they were last heard of."""

    @abstractmethod
    def register(self, worker: WorkerRow) -> None:
        """Record a worker that starts; it replaces the one of this id, who must be known to be dead."""

    @abstractmethod
    def beat(self, worker_id: str, token: str, state: WorkerState) -> bool:
        """Record that a worker is alive; return False if it was declared lost, replaced or has left meanwhile."""

    @abstractmethod
    def leave(self, worker_id: str, token: str) -> None:
        """Take out a worker that ends in order; nothing happens if another one has its id by now."""

    @abstractmethod
    def workers(self) -> list[WorkerRow]:
        """Return all that have not left, by id."""

    @abstractmethod
    def overdue(self, seconds: float) -> list[str]:
        """Return the ids of those not heard of for so long, by the database's clock, or lost, or who have left."""

    @abstractmethod
    def declare_lost(self, worker_id: str, seconds: float) -> bool:
        """Hold a worker for lost unless it was heard of in the last `seconds`; return whether it is, or has left."""

    @abstractmethod
    def forget_workers(self, seconds: float) -> None:
        """Remove those that are lost or have left, and were not heard of for so long, by the database's clock."""
