"""The ports of job engines: what takes jobs and has them worked on, one at a time in each slot.

An engine moves work and knows nothing of it but ids: everything else is in the records. So whatever it repeats, or
gives to another worker, is decided there.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

JobKind = Literal["compute", "publish"]

Json = Any
"""A JSON value: what a step returns is kept as one."""


class Job(NamedTuple):
    """Work that is to be done on an execution."""

    id: str
    """Unique; see `Execution.job_id`."""
    kind: JobKind
    """Which handler does it."""
    queue: str
    """Whose workers take it."""
    execution_id: str
    order: int
    """Jobs of a queue are taken in this order, the lowest first: the execution's `sequence`."""


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    """A worker of its queue will take it."""
    WORKING = "working"
    """A worker has taken it, and may have died since."""
    DONE = "done"
    """Its handler has ended, or it was withdrawn or given up: nobody works on it again."""
    GONE = "gone"
    """There is none."""


class JobQueue(ABC):
    """Jobs, from outside: for who submits them and who looks after them. Methods block, from any thread.

    Every method but `close` raises `ServiceUnavailableError` if what keeps the jobs cannot be reached.
    """

    @abstractmethod
    def enqueue_all(self, jobs: Sequence[Job], connection: Any) -> None:
        """Add jobs, for little more than one of them costs.

        This method and `enqueue` are the only ones that may be called within a transaction of the records: every other
        one has its own, and waits for that one.

        Parameters
        ----------
        jobs
            Their ids are new ones.
        connection
            The records' connection, in whose transaction the jobs are added; None adds them at once.

        Raises
        ------
        RecordError
            If there is a job of one of these ids: then none is to be committed.
        """

    def enqueue(self, job: Job, connection: Any) -> None:
        """Add one job, as `enqueue_all` does."""
        self.enqueue_all([job], connection)

    @abstractmethod
    def withdraw(self, job_ids: Collection[str]) -> None:
        """Take jobs back that wait; one that is worked on may be interrupted, and what is not there is no error."""

    @abstractmethod
    def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """Return where each of these jobs stands."""

    @abstractmethod
    def held_by(self, executor_id: str) -> list[str]:
        """Return the ids of the jobs that a worker has taken and not ended."""

    @abstractmethod
    def give_back(self, job_id: str, executor_id: str) -> bool:
        """Let a job wait again that this worker has taken; return whether it still had it."""

    @abstractmethod
    def ended(self, before: datetime, *, limit: int) -> list[str]:
        """Return the ids of at most so many jobs that were done before then."""

    @abstractmethod
    def forget(self, job_ids: Collection[str]) -> None:
        """Remove what is kept of jobs that are done."""

    @abstractmethod
    def declare(self, queues: Collection[str]) -> None:
        """Make queues known, each with one job at a time in every worker; before a worker starts."""

    @abstractmethod
    def check(self) -> None:
        """Return if jobs can be enqueued."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections. Idempotent."""


class Steps(Protocol):
    """The steps of a job. One that has ended does not begin again, whatever happens to the worker.

    A step returns a JSON value and raises nothing: what it returned is kept, and returned again where the job is taken
    up once more. Names are part of what is kept.
    """

    async def once(self, name: str, work: Callable[[], Json]) -> Json:
        """Do `work` in a thread."""

    async def interruptible(self, name: str, work: Callable[[], Json], interrupt: Callable[[], None]) -> Json:
        """Do `work` in a thread; where the job is taken from this worker, call `interrupt` in another, and wait."""


JobHandler = Callable[[str, str, Steps], Awaitable[None]]
"""Does a job: its id, its execution's, and the steps to do it in."""


class JobWorker(ABC):
    """Takes jobs of its queues and has them done: one at a time of each queue."""

    @abstractmethod
    def start(self, handlers: Mapping[str, JobHandler]) -> None:
        """Begin to take jobs, each done by the handler of its kind. What one raises is logged and ends nothing else."""

    @abstractmethod
    def pause(self) -> None:
        """Take no more jobs; those that are being done go on."""

    @abstractmethod
    def active(self) -> list[str]:
        """Return the ids of the jobs that are being done."""

    @abstractmethod
    def strayed(self) -> set[str]:
        """Return the ids of the jobs that this worker has taken and nobody in it works on."""
