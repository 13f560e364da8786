"""Workers that look after each other: heartbeats, and a reaper that gives the work of dead ones to others."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs import JobQueue, JobWorker
from wildcast_server.records import Records
from wildcast_server.usecases.queues import COMPUTE, PUBLISH

logger = logging.getLogger(__name__)

FORGET_SECONDS = 3600.0
"""How long a worker that is lost or has left is remembered: so long it is looked whether it took a job all the same."""


def workers_by_queue(workers: Iterable[WorkerRow]) -> dict[str, int]:
    """Count those that take from each kind of queue, whatever disks they have."""
    counts = {COMPUTE: 0, PUBLISH: 0}
    for worker in workers:
        if worker.state is WorkerState.UP:
            for kind in {queue.partition(".")[0] for queue in worker.queues}:
                counts[kind] += 1
    return counts


class Heartbeats:
    """Says, again and again, that a worker is alive.

    Parameters
    ----------
    records
        Where.
    worker
        Who.
    dead_after_seconds
        After which silence others hold it for dead.
    on_lost
        Called when they have: what this process does counts no more, and it has to end.
    clock
        Seconds, of which pauses of this process are a part.
    """

    def __init__(
        self,
        records: Records,
        worker: WorkerRow,
        *,
        dead_after_seconds: float,
        on_lost: Callable[[], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._worker = worker
        self._dead_after = dead_after_seconds
        self._on_lost = on_lost
        self._clock = clock
        self._state = WorkerState.UP
        self._last: float | None = None
        self._steady_since: float | None = None
        self._is_away = False

    @property
    def worker_id(self) -> str:
        """Whose they are."""
        return self._worker.id

    @property
    def are_steady(self) -> bool:
        """Whether they have come through for as long as a silence makes a worker a dead one.

        Right after an outage of the records everybody's are overdue, and nobody is dead.
        """
        if self._steady_since is None or self._last is None:
            return False
        now = self._clock()
        # Who has just woken up has missed its own beats as well.
        return now - self._steady_since >= self._dead_after and 0 <= now - self._last < self._dead_after

    def begin(self) -> None:
        """Record the worker; only who is sure that the process before is dead may."""
        self._records.register(self._worker)
        self._note()

    def drain(self) -> None:
        """Say from now on that it takes no more."""
        self._state = WorkerState.DRAINING
        self()

    def __call__(self) -> None:
        """Say once that it is alive."""
        try:
            is_alive = self._records.beat(self._worker.id, self._worker.token, self._state)
        except ServiceUnavailableError as outage:
            self._steady_since = None
            if not self._is_away:
                # Said once, here, for everything that does without the records now.
                logger.warning("the records cannot be reached, and work goes on as far as it can: %s", outage)
            self._is_away = True
            return
        if self._is_away:
            logger.warning("the records can be reached again")
            self._is_away = False
        self._note()
        if not is_alive:
            logger.error("%s was held for dead, and others do its work: it ends", self._worker.id)
            self._on_lost()

    def end(self) -> None:
        """Say that the worker is gone: it has nothing that others would have to take over, as far as it knows."""
        self._records.leave(self._worker.id, self._worker.token)

    def _note(self) -> None:
        now = self._clock()
        if self._steady_since is None or self._last is None or not 0 <= now - self._last < self._dead_after:
            self._steady_since = now
        self._last = now


@dataclass(frozen=True)
class Reaper:
    """Gives the jobs of dead workers back, so that others take them.

    Any number of them may do that at once, and each may die in the middle.

    Parameters
    ----------
    heartbeats
        Of the worker that this one is part of: it judges others only while its own heart beats.
    dead_after_seconds
        After which silence a worker is held for dead, by the database's clock.
    """

    records: Records
    jobs: JobQueue
    heartbeats: Heartbeats
    dead_after_seconds: float
    forget_seconds: float = FORGET_SECONDS

    def __call__(self) -> None:
        """Look once."""
        if not self.heartbeats.are_steady:
            return
        for worker_id in self.records.overdue(self.dead_after_seconds):
            if worker_id != self.heartbeats.worker_id and self._is_lost(worker_id):
                self._give_back(worker_id)
        self.records.forget_workers(self.forget_seconds)

    def _is_lost(self, worker_id: str) -> bool:
        return self.records.declare_lost(worker_id, self.dead_after_seconds)

    def _give_back(self, worker_id: str) -> None:
        given = [job_id for job_id in self.jobs.held_by(worker_id) if self.jobs.give_back(job_id, worker_id)]
        if given:
            logger.warning("the worker %s is gone; given to others: %s", worker_id, ", ".join(given))


@dataclass
class Strays:
    """Gives back what this very worker has taken and does not work on, as after a database that was away just then.

    What strays is seen twice: between taking a job and working on it there is a moment.
    """

    jobs: JobQueue
    worker: JobWorker
    executor_id: str
    _seen: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """Look once."""
        strayed = self.worker.strayed()
        for job_id in strayed & self._seen:
            if self.jobs.give_back(job_id, self.executor_id):
                logger.warning("%s was taken and not worked on: it waits again", job_id)
        self._seen = strayed
