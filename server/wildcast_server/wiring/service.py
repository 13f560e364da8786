"""Building the service: records, workflows, engine, runner and use cases."""

import logging
import threading
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from wildcast.contract.status import ExecutionStatus
from wildcast.contract.wire import StorageType
from wildcast_server.api import UseCases
from wildcast_server.domain.discovery import REASON, Discovery, discover_files, workflow_files
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.parameters import as_sentence, field_errors
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import SettingsError, WildcastServerError
from wildcast_server.jobs import DIALECT, InProcessJobs, JobEngine, Runner, SinkSpec, probe
from wildcast_server.metrics import Metrics, TransferState
from wildcast_server.publish import Publishing
from wildcast_server.records import ObservedRecords, Records, SqlRecords, ensure_schema, open_engine
from wildcast_server.settings import Settings, WorkflowSettings
from wildcast_server.signing.base import Signer
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.publication import Begin
from wildcast_server.usecases.restart import put_back_active, resume_unfinished
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.run import RunExecution
from wildcast_server.usecases.submit import Submit
from wildcast_server.wiring.publications import InPlace, InStore
from wildcast_server.wiring.publishing import build_publisher, build_store_check, build_transfer, live_requests
from wildcast_server.wiring.stopping import StopRequestedError
from wildcast_server.wiring.streaming import streaming_sink

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long a running workflow may take to notice that the service stops; then it is killed and queued again."""

PUBLISH_SECONDS = 30.0
"""How long a publication may take to end when the service stops; what is cut off is done again at the next start."""


@dataclass(frozen=True)
class PublicationPlaces:
    """Where publications go and where they are read from.

    Parameters
    ----------
    begin
        Begins to make an output directory a publication of the storage type that is configured.
    stores
        Where those of each storage type lie; an earlier configuration may have used the other one.
    signer
        None where object storage is off.
    """

    begin: Begin
    stores: Mapping[StorageType, ObjectStore]
    signer: Signer | None
    metrics: Metrics = field(default_factory=Metrics)
    """Of the service, which publishing reports to."""


class Service:
    """Everything behind the API, from `start` to `stop`.

    Parameters
    ----------
    settings
        The whole tree.
    places
        As `publication_places` builds them.
    stop
        Set where building it is not wanted any more.

    Raises
    ------
    SettingsError, SchemaMismatchError
        If it cannot be built from these settings.
    StopRequestedError
        If `stop` was set.
    """

    def __init__(self, settings: Settings, places: PublicationPlaces, stop: threading.Event | None = None) -> None:
        every = load_registry(settings.workflows, stop)
        workflows = expose(settings.workflows, every)
        # What was accepted while it was exposed is run even if it is not any more.
        self._runner = build_runner(settings.workflows, every)
        self._jobs: JobEngine = InProcessJobs()
        # Last: nothing before it holds anything open, and nothing behind it fails.
        metrics = places.metrics
        self.records = ObservedRecords(build_records(settings), metrics)
        metrics.watch(self.records.unfinished_counts)
        self._run = RunExecution(
            records=self.records,
            runner=self._runner,
            begin=places.begin,
            output_root=settings.output_dir,
            keep_local_output=settings.results.keep_local_output,
        )
        lookup = Lookup(self.records)
        self.use_cases = UseCases(
            workflows=workflows,
            submit=Submit(
                workflows=workflows,
                records=self.records,
                jobs=self._jobs,
                output_root=settings.output_dir,
                min_free_bytes=settings.results.min_free_disk_bytes,
                max_queued=settings.workflows.max_queued,
            ),
            lookup=lookup,
            results=Results(lookup, places.stores, places.signer),
            checks={"records": self.records.check, "job engine": self._jobs.check},
            further_checks={"store": build_store_check(settings)} if "s3" in places.stores else {},
            metrics=metrics,
        )

    def start(self) -> None:
        """Begin to run what is queued, first of all what the last stop interrupted; workflows warm up meanwhile."""
        self._runner.warm_up()
        self._jobs.start(self._run)
        self._run.clean_up_left()
        resumed = resume_unfinished(self.records, self._jobs, self._run.marks, self._run.abandon)
        if resumed:
            logger.info("taken up again: %s", ", ".join(resumed))

    def stop(self) -> None:
        """End in order: take nothing new, interrupt the workflow, let a publication finish."""
        logger.info("stopping%s", self._outlook())
        try:
            self._jobs.stop(0)
            self._runner.close(DRAIN_SECONDS)
            self._jobs.stop(PUBLISH_SECONDS)
            put_back_active(self.records, self._run.marks)
        finally:
            self.records.close()

    def _outlook(self) -> str:
        """Say what stopping waits for, and what it leaves to the next start."""
        try:
            counts = self.records.unfinished_counts()
        except WildcastServerError:
            # What cannot be counted may well be there.
            counts = dict.fromkeys(ExecutionStatus, 1)
        parts = {
            ExecutionStatus.RUNNING: f"the workflow that runs has {DRAIN_SECONDS:.0f} seconds",
            ExecutionStatus.PENDING_RESULTS: f"what is being published has {PUBLISH_SECONDS:.0f} seconds",
            ExecutionStatus.QUEUED: "what is queued waits for the next start",
        }
        said = "; ".join(part for status, part in parts.items() if counts.get(status))
        return f": {said}" if said else ""


def publication_places(settings: Settings, store: ObjectStore | None, signer: Signer | None) -> PublicationPlaces:
    """Decide, by whether there is a `store`, how results are published."""
    local = open_store(settings.output_dir.as_uri(), StoreOptions())
    if store is None:
        return PublicationPlaces(InPlace, {"server": local}, None)
    metrics = Metrics()
    transfer = build_transfer(settings, store)
    metrics.watch_transfer(
        lambda: TransferState(
            limit=transfer.budget.limit,
            in_flight=transfer.budget.in_flight,
            slow_downs=store.slow_downs,
            retries=store.retries,
        )
    )
    publisher = build_publisher(settings, store, transfer, metrics.transfer_observer)

    def sink(publishing: Publishing) -> SinkSpec | None:
        ledger = publishing.streamed
        return None if ledger is None else streaming_sink(settings, publishing.prefix, ledger)

    publish_live = settings.results.publish_live and live_requests(settings.object_storage) > 0

    def begin(directory: Path, execution: Execution, *, afresh: bool) -> InStore:
        publishing = publisher.begin(directory, execution.id, attempt=execution.attempt, afresh=afresh)
        return InStore(publishing, sink, publish_live=publish_live)

    return PublicationPlaces(begin, {"server": local, "s3": store}, signer, metrics)


def load_registry(chosen: WorkflowSettings, stop: threading.Event | None = None) -> Registry:
    """Load all workflows that there are; a file that fails is logged and harms no other.

    Each file is imported by a child process first, so that one that ends or hangs its process does so there.

    Raises
    ------
    SettingsError
        If a name in the settings is no workflow's although every file was loaded.
    StopRequestedError
        If `stop` was set meanwhile.
    """
    # Listed once: what appears in between is not imported untried.
    files = workflow_files(chosen.directories)
    refused = probe(files, stop=stop)
    if stop is not None and stop.is_set():
        raise StopRequestedError("told to stop before the workflows were loaded")
    found = discover_files(files, DIALECT, refused=refused)
    for failure in found.failures:
        logger.error("%s", failure.message)
        logger.debug("how it came to that:", exc_info=failure.error)
    for path, reason in found.empty.items():
        _tell_empty(path, reason)
    _check_names(chosen, found)
    return found.registry


def _tell_empty(path: Path, reason: str | None) -> None:
    if reason is not None:
        logger.debug("%s has no workflow: %s", path, reason)
        return
    logger.warning(
        "%s has no workflow: mark or register one there; if it is meant to have none, "
        "begin its name with _ or say why in a variable %s",
        path,
        REASON,
    )


def expose(chosen: WorkflowSettings, every: Registry) -> Registry:
    """Return those that clients may use, and tell the operator of each that refuses its configuration."""
    names = chosen.exposed
    exposed = every.exposed(None if names is None else [name for name in names if name in every])
    _check_configs(chosen, exposed)
    if not exposed:
        logger.warning("there is no workflow to run: name a directory of workflow files in WORKFLOW_DIR")
    else:
        files = {exposed.source(name) for name in exposed}
        logger.info("%s from %s: %s", _count("workflow", exposed), _count("file", files), ", ".join(exposed))
    return exposed


def _count(noun: str, things: Sized) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def build_runner(chosen: WorkflowSettings, workflows: Registry) -> Runner:
    """Build the runner of these workflows; each run imports its own workflow's file alone."""
    sources = {name: workflows.source(name) for name in workflows}
    return Runner(
        chosen.directories,
        chosen.config,
        sources={name: path for name, path in sources.items() if path is not None},
        warm_up=[name for name in chosen.warm_up if name in workflows],
    )


def _check_names(chosen: WorkflowSettings, found: Discovery) -> None:
    """Hold that the settings name workflows that there are; one may be missing because its file failed."""
    given = {"exposed": chosen.exposed or (), "config": chosen.config, "warm_up": chosen.warm_up}
    for setting, names in given.items():
        unknown = sorted(set(names) - set(found.registry))
        if not unknown:
            continue
        there = ", ".join(found.registry) or "none at all"
        sentence = f"workflows.{setting} names {', '.join(unknown)}, and there is no such workflow; there is {there}"
        if not found.failures:
            raise SettingsError(sentence)
        logger.error("%s; it may be in a file that could not be loaded", sentence)


def _check_configs(chosen: WorkflowSettings, registry: Registry) -> None:
    # Its executions fail, and no others; so it does not stop the start.
    for name in registry:
        try:
            registry.get(name).Config.model_validate(chosen.config.get(name) or {})
        except ValidationError as error:
            place, problems = registry.entry(name).place, as_sentence(field_errors(error))
            logger.error("workflows.config.%s is not what %s takes, so it cannot run: %s", name, place, problems)  # noqa: TRY400 - a traceback could repeat values


def build_records(settings: Settings) -> Records:
    """Open the records' database; a fresh one is created."""
    engine = open_engine(settings.database_url.get_secret_value())
    try:
        ensure_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlRecords(engine)
