"""Building the service: records, workflows, engine, runner and use cases."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wildcast.contract.wire import StorageType
from wildcast_server.api import UseCases
from wildcast_server.domain.discovery import discover
from wildcast_server.domain.execution import Execution
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import SettingsError
from wildcast_server.jobs import InProcessJobs, JobEngine, Runner
from wildcast_server.publish import Published, publish_in_place
from wildcast_server.records import Records, SqlRecords, ensure_schema, open_engine
from wildcast_server.settings import Settings
from wildcast_server.signing.base import Signer
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.run import Publish, RunExecution, put_back_active, resume_unfinished
from wildcast_server.usecases.submit import Submit
from wildcast_server.wiring.publishing import build_publisher

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
    publish
        Makes an output directory a publication of the storage type that is configured.
    stores
        Where those of each storage type lie; an earlier configuration may have used the other one.
    signer
        None where object storage is off.
    """

    publish: Publish
    stores: Mapping[StorageType, ObjectStore]
    signer: Signer | None


class Service:
    """Everything behind the API, from `start` to `stop`.

    Parameters
    ----------
    settings
        The whole tree.
    places
        As `publication_places` builds them.

    Raises
    ------
    SettingsError, SchemaMismatchError
        If it cannot be built from these settings.
    """

    def __init__(self, settings: Settings, places: PublicationPlaces) -> None:
        workflows = build_registry(settings)
        self._runner = Runner(settings.workflows.directories, settings.workflows.config)
        self._jobs: JobEngine = InProcessJobs()
        # Last: nothing before it holds anything open, and nothing behind it fails.
        self.records = build_records(settings)
        self._run = RunExecution(
            records=self.records,
            runner=self._runner,
            publish=places.publish,
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
            ),
            lookup=lookup,
            results=Results(lookup, places.stores, places.signer),
        )

    def start(self) -> None:
        """Begin to run what is queued, first of all what the last stop interrupted."""
        self._jobs.start(self._run)
        resumed = resume_unfinished(self.records, self._jobs)
        if resumed:
            logger.info("taken up again: %s", ", ".join(resumed))

    def stop(self) -> None:
        """End in order: take nothing new, interrupt the workflow, let a publication finish."""
        logger.info(
            "stopping: a workflow has %.0f seconds, a publication %.0f; the rest waits for the next start",
            DRAIN_SECONDS,
            PUBLISH_SECONDS,
        )
        try:
            self._jobs.stop(0)
            self._runner.close(DRAIN_SECONDS)
            self._jobs.stop(PUBLISH_SECONDS)
            put_back_active(self.records)
        finally:
            self.records.close()


def publication_places(settings: Settings, store: ObjectStore | None, signer: Signer | None) -> PublicationPlaces:
    """Decide, by whether there is a `store`, how results are published."""
    local = open_store(settings.output_dir.as_uri(), StoreOptions())
    if store is None:
        return PublicationPlaces(_in_place, {"server": local}, None)
    publisher = build_publisher(settings, store)

    def publish(directory: Path, execution: Execution) -> Published:
        return publisher.publish(directory, execution.id, attempt=execution.attempt)

    return PublicationPlaces(publish, {"server": local, "s3": store}, signer)


def _in_place(directory: Path, execution: Execution) -> Published:
    return publish_in_place(directory, execution.id, attempt=execution.attempt)


def build_registry(settings: Settings) -> Registry:
    """Load the workflows that are exposed; a file that fails is logged and harms no other.

    Raises
    ------
    SettingsError
        If an exposed or configured name is not there, or a workflow refuses its configuration.
    """
    found = discover(settings.workflows.directories)
    for failure in found.failures:
        logger.error("%s", failure.message)
        logger.debug("how it came to that:", exc_info=failure.error)
    unknown = sorted(set(settings.workflows.config) - set(found.registry.names()))
    if unknown:
        raise SettingsError(f"workflows.config names {', '.join(unknown)}, and there is no such workflow")
    exposed = found.registry.exposed(settings.workflows.exposed)
    if not exposed:
        logger.warning("there is no workflow to run: name a directory of workflow files in WORKFLOW_DIR")
    return exposed


def build_records(settings: Settings) -> Records:
    """Open the records' database; a fresh one is created."""
    engine = open_engine(settings.database_url.get_secret_value())
    try:
        ensure_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlRecords(engine)
