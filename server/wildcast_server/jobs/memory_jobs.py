"""Jobs in threads of this process, for tests: nothing to install, and nothing survives."""

import asyncio
import heapq
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from wildcast_server.errors import RecordError, ServiceUnavailableError
from wildcast_server.jobs.base import Job, JobHandler, JobQueue, JobState, JobWorker, Json
from wildcast_server.jobs.interrupting import interruptible

logger = logging.getLogger(__name__)

EXECUTOR = "memory"
"""Who has the jobs that are being done."""


class MemorySteps:
    """Steps that are done and not kept."""

    async def once(self, name: str, work: Callable[[], Json]) -> Json:  # noqa: ARG002 - the port's
        """Do `work` in a thread."""
        return await asyncio.to_thread(work)

    async def interruptible(
        self,
        name: str,  # noqa: ARG002 - the port's
        work: Callable[[], Json],
        interrupt: Callable[[], None],
    ) -> Json:
        """Do `work` in a thread; `interrupt` it if the job is cancelled."""
        return await interruptible(work, interrupt)


class MemoryJobs(JobQueue, JobWorker):
    """Both ports in one: jobs wait in memory, and a thread a queue does them.

    Parameters
    ----------
    queues
        Those that are worked on once it is started; what is enqueued elsewhere waits.
    """

    def __init__(self, queues: Iterable[str] = ("compute", "publish")) -> None:
        self._queues = tuple(queues)
        self._waiting: dict[str, list[tuple[int, int, Job]]] = {}
        self._states: dict[str, JobState] = {}
        self._ended: dict[str, datetime] = {}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._enqueued = 0
        self._is_paused = self._is_closed = False

    @property
    def waiting(self) -> list[Job]:
        """What waits, of all queues, in the order in which it is taken."""
        with self._changed:
            return [job for _, _, job in sorted(entry for heap in self._waiting.values() for entry in heap)]

    def enqueue_all(self, jobs: Sequence[Job], connection: Any) -> None:
        """Add jobs; there is no transaction to do it in."""
        del connection
        with self._changed:
            if self._is_closed:
                raise ServiceUnavailableError("the job engine is closed and takes no more work")
            for job in jobs:
                if job.id in self._states:
                    raise RecordError(f"there is a job {job.id!r} already")
            for job in jobs:
                self._put(job)

    def withdraw(self, job_ids: Collection[str]) -> None:
        """Take jobs back that wait."""
        with self._changed:
            for queue, heap in self._waiting.items():
                left = [entry for entry in heap if entry[2].id not in job_ids]
                self._end([job.id for _, _, job in heap if job.id in job_ids])
                heapq.heapify(left)
                self._waiting[queue] = left

    def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """Tell where each of these jobs stands."""
        with self._changed:
            return {job_id: self._states.get(job_id, JobState.GONE) for job_id in job_ids}

    def held_by(self, executor_id: str) -> list[str]:
        """Return what is being done, if it is asked for this process."""
        return self.active() if executor_id == EXECUTOR else []

    def give_back(self, job_id: str, executor_id: str) -> bool:
        """Do nothing: who does jobs here never dies before they do."""
        del job_id, executor_id
        return False

    def ended(self, before: datetime, *, limit: int) -> list[str]:
        """Return jobs that were done before then."""
        with self._changed:
            return [job_id for job_id, at in self._ended.items() if at < before][:limit]

    def forget(self, job_ids: Collection[str]) -> None:
        """Forget jobs that are done."""
        with self._changed:
            for job_id in job_ids:
                if self._states.get(job_id) is JobState.DONE:
                    del self._states[job_id]
                    self._ended.pop(job_id, None)

    def declare(self, queues: Collection[str]) -> None:
        """Do nothing: a queue is there when something is put into it."""

    def check(self) -> None:
        """Return if it is not closed."""
        if self._is_closed:
            raise ServiceUnavailableError("the job engine is closed and takes no more work")

    def start(self, handlers: Mapping[str, JobHandler]) -> None:
        """Begin to take jobs, once."""
        if self._threads:
            raise RuntimeError("an engine starts once")
        # Daemons: the interpreter may end although a handler still works.
        self._threads = [
            threading.Thread(target=self._work, args=(queue, handlers), name=f"jobs-{queue}", daemon=True)
            for queue in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Take no more jobs."""
        with self._changed:
            self._is_paused = True
            self._changed.notify_all()

    def active(self) -> list[str]:
        """Return what is being done."""
        with self._changed:
            return [job_id for job_id, state in self._states.items() if state is JobState.WORKING]

    def strayed(self) -> set[str]:
        """Return nothing: what is taken here is worked on."""
        return set()

    def close(self) -> None:
        """Take no more jobs, neither to keep nor to do. Idempotent."""
        self.pause()
        self._is_closed = True

    def _end(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            self._states[job_id] = JobState.DONE
            self._ended[job_id] = datetime.now(UTC)

    def _put(self, job: Job) -> None:
        self._enqueued += 1
        self._states[job.id] = JobState.WAITING
        heapq.heappush(self._waiting.setdefault(job.queue, []), (job.order, self._enqueued, job))
        self._changed.notify_all()

    def _take(self, queue: str) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_paused or self._waiting.get(queue))
            if self._is_paused:
                return None
            _, _, job = heapq.heappop(self._waiting[queue])
            self._states[job.id] = JobState.WORKING
            return job

    def _work(self, queue: str, handlers: Mapping[str, JobHandler]) -> None:
        while (job := self._take(queue)) is not None:
            try:
                asyncio.run(_done(handlers[job.kind], job))
            except BaseException:
                # Even SystemExit: a thread that ends in silence takes work and never does it.
                logger.exception("%s: its handler failed", job.id)
            with self._changed:
                self._end([job.id])
                self._changed.notify_all()


async def _done(handler: JobHandler, job: Job) -> None:
    await handler(job.id, job.execution_id, MemorySteps())
