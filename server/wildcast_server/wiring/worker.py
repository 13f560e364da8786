"""A worker: a process that runs workflows, publishes what they wrote, and looks after what others leave."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NoReturn

from wildcast_server.domain.worker import WorkerRow
from wildcast_server.errors import SettingsError, WildcastServerError
from wildcast_server.jobs import JobHandler, Runner
from wildcast_server.jobs.dbos_engine import DbosQueue, DbosWorker
from wildcast_server.metrics import Metrics
from wildcast_server.records import ObservedRecords
from wildcast_server.settings import Settings
from wildcast_server.store import ObjectStore
from wildcast_server.usecases.compute import Compute
from wildcast_server.usecases.computed import Marks
from wildcast_server.usecases.drain import Drain
from wildcast_server.usecases.maintenance import Maintenance, Pass
from wildcast_server.usecases.means import Means
from wildcast_server.usecases.patience import Patience
from wildcast_server.usecases.publication import Kept
from wildcast_server.usecases.publish_output import PublishOutput
from wildcast_server.usecases.queues import COMPUTE, PUBLISH, publish_queue
from wildcast_server.usecases.reconcile import DeadSites, Reconcile
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.watch import Watch
from wildcast_server.usecases.workers import Heartbeats, Reaper, Strays
from wildcast_server.wiring.cleanup import life_cycle
from wildcast_server.wiring.database import database_url, ensure_database, open_records
from wildcast_server.wiring.exposition import WRITE_SECONDS, Exposed
from wildcast_server.wiring.identity import take_slot
from wildcast_server.wiring.outputs import begin_of, ending_of
from wildcast_server.wiring.publishing import build_store, build_transfer
from wildcast_server.wiring.workflows import build_runner, seconds_for, survey_workflows

logger = logging.getLogger(__name__)

QUEUES = (COMPUTE, PUBLISH)
"""What a worker may be started for; of the second, each disk has its own queue."""

FENCED = 75
"""The exit code of a worker that others held for dead (``EX_TEMPFAIL``); it is to be started again."""

REST_SECONDS = 5.0
"""How much longer than a workflow its job may take to come to rest: what it published live is removed first."""

TAKING_SECONDS = 0.3
"""How long after a worker is paused it may still take a job that it had asked for."""


def run_worker(
    settings: Settings, stop: threading.Event, on_ready: Callable[[], object], *, queues: Sequence[str] = QUEUES
) -> NoReturn:
    """Be a worker until `stop` is set, and end this process then, with exit code 0.

    Parameters
    ----------
    settings
        The whole tree.
    stop
        Set where it is to stop: it takes no new work, and gives to others what does not end in time.
    on_ready
        Called when it works.
    queues
        Any of `QUEUES`; from each it does one job at a time.

    Raises
    ------
    SettingsError, SchemaMismatchError
        If it cannot work with these settings.
    StopRequestedError
        If `stop` was set before it worked.
    """
    unknown = sorted(set(queues) - set(QUEUES))
    if unknown or not queues:
        raise SettingsError(f"a worker can be for {' and '.join(QUEUES)}, not for {', '.join(unknown) or 'nothing'}")
    with ExitStack() as opening:
        Worker(settings, queues, stop, opening).run(on_ready)


class Worker:
    """What `run_worker` runs.

    Parameters
    ----------
    opening
        Closes what is open if it cannot be built.
    """

    def __init__(self, settings: Settings, queues: Sequence[str], stop: threading.Event, opening: ExitStack) -> None:
        self._settings = settings
        self._stop = stop
        ensure_database(settings)
        self._identity = opening.enter_context(take_slot(settings, "-".join(queues)))
        self._metrics = Metrics()
        self._records = ObservedRecords(open_records(settings), self._metrics)
        opening.callback(self._records.close)
        self._jobs = DbosQueue(database_url(settings))
        opening.callback(self._jobs.close)
        self._drain = Drain()
        self._watch = opening.enter_context(Watch(self._records))
        self._runner: Runner | None = None
        names = {COMPUTE: COMPUTE, PUBLISH: publish_queue(self._identity.site)}
        self._queues = [names[queue] for queue in queues]
        store = build_store(settings) if settings.object_storage.enabled else None
        self._transfer = None if store is None else build_transfer(settings, store, runs_workflows=COMPUTE in queues)
        self._kept = Kept() if PUBLISH in queues else Kept(most=0)
        means = self._means()
        self._handlers = {queue: self._handler(queue, means) for queue in queues}
        if self._runner is not None:
            opening.callback(self._runner.close)
        self._engine = DbosWorker(database_url(settings), self._identity.id, self._queues)
        self._heartbeats = self._build_heartbeats()
        self._maintenance = Maintenance(self._passes(store))

    def run(self, on_ready: Callable[[], object]) -> NoReturn:
        """Work until it is told to stop, and end this process."""
        if self._runner is not None:
            self._runner.warm_up()
        self._heartbeats.begin()
        self._jobs.declare(self._queues)
        self._engine.start(self._handlers)
        self._maintenance.start()
        logger.info("%s works on %s", self._identity.id, " and ".join(self._queues))
        on_ready()
        self._stop.wait()
        self._end()

    def _means(self) -> Means:
        return Means(
            records=self._records,
            jobs=self._jobs,
            begin=begin_of(self._settings, self._transfer, self._metrics),
            output_root=self._settings.output_dir,
            identity=self._identity,
            ending=ending_of(self._settings),
            watch=self._watch,
            drain=self._drain,
            patiently=Patience(self._drain),
            kept=self._kept,
        )

    def _handler(self, queue: str, means: Means) -> JobHandler:
        chosen, results = self._settings.workflows, self._settings.results
        if queue == PUBLISH:
            return PublishOutput(
                means=means, keep_local_output=results.keep_local_output, max_attempts=chosen.max_attempts
            )
        seen = survey_workflows(chosen, self._stop)
        self._runner = build_runner(chosen, seen)
        return Compute(
            means=means,
            runner=self._runner,
            max_attempts=chosen.max_attempts,
            seconds_for=lambda name: seconds_for(chosen, seen, name),
            room=Room(self._settings.output_dir, results.min_free_disk_bytes),
        )

    def _build_heartbeats(self) -> Heartbeats:
        identity = self._identity
        row = WorkerRow(
            id=identity.id,
            token=secrets.token_hex(16),
            host=identity.host,
            pid=os.getpid(),
            instance=identity.instance,
            site=identity.site,
            queues=tuple(self._queues),
        )
        return Heartbeats(
            self._records,
            row,
            dead_after_seconds=self._settings.workers.dead_after_seconds,
            on_lost=lambda: _end_now(FENCED),
        )

    def _passes(self, store: ObjectStore | None) -> list[Pass]:
        settings, records, jobs = self._settings, self._records, self._jobs
        ending, attempts = ending_of(settings), settings.workflows.max_attempts
        beat, dead = settings.workers.heartbeat_seconds, settings.workers.dead_after_seconds
        return [
            Pass("heartbeat", self._heartbeats, beat),
            Pass("reaper", Reaper(records, jobs, self._heartbeats, dead), beat),
            Pass("strays", Strays(jobs, self._engine, self._identity.id), 5.0),
            Pass("reconcile", Reconcile(records, jobs, ending), 30.0),
            Pass("dead sites", DeadSites(records, jobs, self._heartbeats, ending, attempts), beat),
            Pass("kept", lambda: self._kept.close_taken(records.get), 30.0),
            Pass("metrics", lambda: Exposed.of(settings).write(self._identity.id, self._metrics), WRITE_SECONDS),
            *life_cycle(settings, records, jobs, store, self._identity.site, self._transfer).passes,
        ]

    def _end(self) -> NoReturn:
        """End in order: take nothing new, interrupt the workflow, let a publication finish, give the rest to others."""
        limits = self._settings.workers
        if self._engine.active():
            logger.info(
                "stopping: a workflow that runs has %g seconds, a publication %g",
                limits.drain_seconds,
                limits.publish_drain_seconds,
            )
        try:
            self._drain.begin()
            self._engine.pause()
            self._heartbeats.drain()
            time.sleep(TAKING_SECONDS)
            self._come_to_rest()
            self._maintenance.stop()
            for job_id in self._jobs.held_by(self._identity.id):
                if self._jobs.give_back(job_id, self._identity.id):
                    logger.warning("%s goes on in another worker, or at the next start", job_id)
            self._heartbeats.end()
        except WildcastServerError as error:
            logger.warning("what was being done goes on at the next start: %s", error)
        # Who stops a worker may be about to start the machine anew.
        Marks(self._settings.output_dir).keep()
        # Not by the interpreter's own end, which would wait for steps that never go on.
        _end_now(0)

    def _come_to_rest(self) -> None:
        limits = self._settings.workers
        if self._runner is not None:
            threading.Thread(
                target=self._runner.close, args=(limits.drain_seconds,), name="runner-close", daemon=True
            ).start()
        deadline = time.monotonic() + max(limits.publish_drain_seconds, limits.drain_seconds + REST_SECONDS)
        while len(self._engine.active()) > self._drain.at_rest and time.monotonic() < deadline:
            time.sleep(0.05)


def _end_now(code: int) -> NoReturn:
    # The guard of the runner's process ends that and what the workflows have started.
    logging.shutdown()
    os._exit(code)
