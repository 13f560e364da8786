"""Jobs that outlive processes: the port's adapter to DBOS, which keeps them in a database. Nothing else knows of DBOS.

It is not imported with the room, since that takes most of a second which a runner's process must not spend.
"""
# ruff: noqa: SLF001 - what DBOS has no public name for is used in this file alone, and each use has a test

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from dbos import DBOS, DBOSClient, EnqueueOptions

from wildcast_server.jobs.base import Job, JobHandler, JobQueue, JobState, JobWorker, Json
from wildcast_server.jobs.dbos_database import JsonSerializer, open_engine, quieten, refuse_pickles, translated
from wildcast_server.jobs.dbos_together import Together
from wildcast_server.jobs.dbos_wakeup import QUEUE_THREADS, Wakeup
from wildcast_server.jobs.interrupting import interruptible

APPLICATION = "wildcast"

APPLICATION_VERSION = "jobs-1"
"""Of the jobs' shape, not of wildcast: what waits when a new release is installed must still be taken.

It changes when the names or the order of the steps in a handler do.
"""

SCHEMA = "dbos"
"""Where Postgres has the engine's tables."""

CLIENT_CONNECT_SECONDS = 3
WORKER_CONNECT_SECONDS = 10
"""How long to wait for a Postgres that does not answer: who asks over HTTP has less patience than a worker."""

POLL_SECONDS = 0.2
"""How soon a free slot notices a job of another process."""

BACKSTOP = 50
"""How often a job may be recovered; the records count attempts themselves, and end them long before."""

_HIGHEST_ORDER = 2**31 - 1

_STATES = {
    "ENQUEUED": JobState.WAITING,
    "DELAYED": JobState.WAITING,
    "PENDING": JobState.WORKING,
    "SUCCESS": JobState.DONE,
    "ERROR": JobState.DONE,
    "CANCELLED": JobState.DONE,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": JobState.DONE,
}


class DbosSteps:
    """The durable steps of the job that is being worked on."""

    async def once(self, name: str, work: Callable[[], Json]) -> Json:
        """Do a step, or return what it returned before."""

        async def step() -> Json:
            return await asyncio.to_thread(work)

        return await DBOS.run_step_async({"name": name}, step)

    async def interruptible(self, name: str, work: Callable[[], Json], interrupt: Callable[[], None]) -> Json:
        """Do a step that is interrupted if the job is withdrawn; returns not before `work` has."""

        async def step() -> Json:
            return await interruptible(work, interrupt)

        return await DBOS.run_step_async({"name": name, "preemptible": True}, step)


class DbosQueue(JobQueue):
    """What enqueues, looks and forgets: for the API, and for whoever keeps order among the workers.

    Parameters
    ----------
    url
        Of the records' database, which has the engine's tables as well.
    """

    def __init__(self, url: str) -> None:
        refuse_pickles()
        quieten()
        self._engine = open_engine(url, "wildcast-client", CLIENT_CONNECT_SECONDS)
        self._client = DBOSClient(
            system_database_url=None if self._engine else url,
            system_database_engine=self._engine,
            dbos_system_schema=SCHEMA,
            serializer=JsonSerializer(),
            application_name=APPLICATION,
            system_database_pool_size=2,
            lazy=True,
            retry_connection_errors=False,
        )

    def enqueue_all(self, jobs: Sequence[Job], connection: Any) -> None:
        """Add jobs, in the transaction of `connection` if there is one."""
        with translated():
            if connection is None:
                for job in jobs:
                    self._client.enqueue(_options(job), job.id, job.execution_id)
                return
            together = Together(connection)
            stand_in: Any = together
            for job in jobs:
                self._client.enqueue_in_transaction(stand_in, _options(job), job.id, job.execution_id)
            together.insert()

    def withdraw(self, job_ids: Collection[str]) -> None:
        """Cancel jobs that wait, and interrupt those that are worked on."""
        with translated():
            self._client.cancel_workflows(list(job_ids))

    def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """Tell where each of these jobs stands."""
        if not job_ids:
            return {}
        with translated():
            found = self._client.list_workflows(workflow_ids=list(job_ids), load_input=False, load_output=False)
        known = {each.workflow_id: _STATES[each.status] for each in found}
        return {job_id: known.get(job_id, JobState.GONE) for job_id in job_ids}

    def held_by(self, executor_id: str) -> list[str]:
        """Return the jobs that this worker has taken and not ended."""
        with translated():
            rows = self._client._sys_db.get_pending_workflows(executor_id, APPLICATION_VERSION)
        return [row.workflow_id for row in rows]

    def give_back(self, job_id: str, executor_id: str) -> bool:
        """Put a job back into its queue if this worker has it; whether it had."""
        with translated():
            # The row keeps its queue; the last argument is for one that has none.
            return self._client._sys_db.reenqueue_for_recovery(job_id, [executor_id], "compute")

    def ended(self, before: datetime, *, limit: int) -> list[str]:
        """Return jobs that came to any end before then."""
        states = [status for status, state in _STATES.items() if state is JobState.DONE]
        with translated():
            found = self._client.list_workflows(
                status=states, completed_before=before.isoformat(), limit=limit, load_input=False, load_output=False
            )
        return [each.workflow_id for each in found]

    def forget(self, job_ids: Collection[str]) -> None:
        """Delete what the engine knows of jobs that have ended."""
        with translated():
            self._client.delete_workflows(list(job_ids))

    def declare(self, queues: Collection[str]) -> None:
        """Make these queues known, each with one job at a time and worker."""
        with translated():
            for name in queues:
                self._client.register_queue(name, worker_concurrency=1, polling_interval_sec=POLL_SECONDS)

    def check(self) -> None:
        """Return if the engine's tables can be reached."""
        with translated():
            self._client._sys_db.get_pending_workflows("", APPLICATION_VERSION)

    def close(self) -> None:
        """Let go of connections."""
        self._client.destroy()
        if self._engine is not None:
            self._engine.dispose()


class DbosWorker(JobWorker):
    """Takes jobs from queues, one of each at a time; one in a process, because DBOS is.

    Parameters
    ----------
    url
        As `DbosQueue`.
    executor_id
        Stable, and no other process' while this one lives: what the process of this id before it left is taken up.
    queues
        Their names; `DbosQueue.declare` made them known.
    """

    def __init__(self, url: str, executor_id: str, queues: Collection[str]) -> None:
        self._url = url
        self._executor_id = executor_id
        self._queues = list(queues)
        self._wakeups: list[Wakeup] = []

    def start(self, handlers: Mapping[str, JobHandler]) -> None:
        """Begin to take jobs; raises `SchemaMismatchError` if the tables are not made, or of another DBOS."""
        refuse_pickles()
        quieten()
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._url,
                "system_database_engine": open_engine(self._url, self._executor_id, WORKER_CONNECT_SECONDS),
                "dbos_system_schema": SCHEMA,
                "application_version": APPLICATION_VERSION,
                "executor_id": self._executor_id,
                "serializer": JsonSerializer(),
                "run_migrations": False,
                "sys_db_pool_size": 4,
                "log_level": "ERROR",
                "use_listen_notify": False,
                "scheduler_polling_interval_sec": 3600.0,
                "notification_listener_polling_interval_sec": 1.0,
            }
        )
        DBOS.listen_queues(list(self._queues))
        for kind, handler in handlers.items():
            _register(kind, handler, self._poll)
        with translated():
            DBOS.launch()
        threads = frozenset(f"{QUEUE_THREADS}{queue}" for queue in self._queues)
        self._wakeups = [Wakeup(stop, threads) for stop in _instance().background_thread_stop_events]

    def _poll(self) -> None:
        """Poll the queues now."""
        for wakeup in self._wakeups:
            wakeup.notify()

    def pause(self) -> None:
        """Take nothing new; what is being done goes on."""
        for stop in _instance().background_thread_stop_events:
            stop.set()

    def active(self) -> list[str]:
        """Return the jobs that are being worked on."""
        return list(_instance()._active_workflows_set.activeList())

    def strayed(self) -> set[str]:
        """Return jobs that are recorded as this worker's and that nobody here works on."""
        with translated():
            rows = _instance()._sys_db.get_pending_workflows(self._executor_id, APPLICATION_VERSION)
        return {row.workflow_id for row in rows} - set(self.active())


def migrate_jobs(url: str) -> None:
    """Make the engine's tables, or bring them to what the installed DBOS needs.

    Raises
    ------
    ServiceUnavailableError
        If the database cannot be reached.
    """
    quieten()
    with translated():
        DBOS.migrate(url, schema=SCHEMA)


def check_jobs(url: str) -> None:
    """Hold that the engine's tables are made and fit the installed DBOS.

    Raises
    ------
    SchemaMismatchError
        If they do not; the sentence says what to do.
    ServiceUnavailableError
        If the database cannot be reached.
    """
    queue = DbosQueue(url)
    try:
        with translated():
            queue._client._sys_db.verify_migrations()
    finally:
        queue.close()


def _options(job: Job) -> EnqueueOptions:
    return {
        "workflow_name": job.kind,
        "queue_name": job.queue,
        "workflow_id": job.id,
        "app_version": APPLICATION_VERSION,
        "workflow_id_reuse_policy": "reject",
        # Before the time, which has whole seconds in some SQLite.
        "priority": max(1, min(job.order, _HIGHEST_ORDER)),
    }


def _register(kind: str, handler: JobHandler, poll: Callable[[], None]) -> None:
    async def job(job_id: str, execution_id: str) -> None:
        task = asyncio.current_task()
        if task is not None:
            # DBOS frees the slot before its task ends, however it does: what waits for the slot is due then.
            task.add_done_callback(lambda _: poll())
        await handler(job_id, execution_id, DbosSteps())
        # What it has enqueued may be for another slot of this process.
        poll()

    job.__qualname__ = kind
    DBOS.workflow(name=kind, max_recovery_attempts=BACKSTOP)(job)


def _instance() -> Any:
    from dbos._dbos import _get_dbos_instance

    return _get_dbos_instance()
