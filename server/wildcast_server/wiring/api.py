"""Building what the API offers: records, jobs, workflows and use cases."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from wildcast_server.api import UseCases
from wildcast_server.api.actions import Actions
from wildcast_server.jobs.dbos_engine import DbosQueue
from wildcast_server.metrics import Metrics
from wildcast_server.records import Limits, ObservedRecords
from wildcast_server.settings import Settings
from wildcast_server.signing.base import Signer
from wildcast_server.store import ObjectStore
from wildcast_server.usecases.listing import ListExecutions
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.partials import Partials
from wildcast_server.usecases.results import Results
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.sign import Sign
from wildcast_server.usecases.submit import Submit
from wildcast_server.usecases.webhooks import CheckWebhook
from wildcast_server.usecases.workers import workers_by_queue
from wildcast_server.wiring.database import database_url, ensure_database, open_records
from wildcast_server.wiring.exposition import Exposed
from wildcast_server.wiring.outputs import ending_of, stores_of
from wildcast_server.wiring.publishing import build_store_check
from wildcast_server.wiring.workflows import expose, load_registry

BUSY_SECONDS = 5.0
"""How long a request waits for who else writes to SQLite; a worker has more time than who waits for an answer."""


@dataclass(frozen=True)
class ApiParts:
    """What the API is made of."""

    use_cases: UseCases
    close: Callable[[], None]
    """Lets go of connections."""


def build_api_parts(
    settings: Settings, store: ObjectStore | None, signer: Signer | None, stop: threading.Event | None = None
) -> ApiParts:
    """Build what the API offers; it runs nothing itself.

    Parameters
    ----------
    settings
        The whole tree.
    store, signer
        Where results are published and how URLs of them are signed; None where object storage is off.
    stop
        Set where building it is not wanted any more.

    Raises
    ------
    SettingsError, SchemaMismatchError
        If it cannot be built from these settings.
    StopRequestedError
        If `stop` was set.
    """
    workflows = expose(settings.workflows, load_registry(settings.workflows, stop))
    ensure_database(settings)
    metrics = Metrics()
    records = ObservedRecords(open_records(settings, busy_seconds=BUSY_SECONDS), metrics)
    metrics.watch(records.unfinished_counts)
    metrics.watch_workers(lambda: workers_by_queue(records.workers()))
    metrics.include(Exposed.of(settings).read)
    jobs = DbosQueue(database_url(settings))
    limits = Limits(max_queued=settings.workflows.max_queued, per_workflow=settings.workflows.limits)
    lookup = Lookup(records)
    results = Results(lookup, stores_of(settings, store), signer)
    use_cases = UseCases(
        workflows=workflows,
        submit=Submit(
            workflows=workflows,
            records=records,
            jobs=jobs,
            room=Room(settings.output_dir, settings.results.min_free_disk_bytes),
            limits=limits,
            check_webhook=CheckWebhook(settings.webhooks),
        ),
        lookup=lookup,
        results=results,
        listing=ListExecutions(workflows, records),
        actions=Actions.of(lookup, records, jobs, ending_of(settings), limits),
        sign=Sign(lookup, results, signer),
        partials=Partials(records, store, signer, settings.object_storage.prefix),
        checks={"records": records.check, "job engine": jobs.check},
        further_checks={"store": build_store_check(settings)} if store is not None else {},
        metrics=metrics,
    )

    def close() -> None:
        jobs.close()
        records.close()

    return ApiParts(use_cases, close)
