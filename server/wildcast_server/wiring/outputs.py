"""What becomes of output directories under these settings: how they are published, where, and for how long."""

from pathlib import Path

from wildcast.contract.wire import StorageType
from wildcast_server.domain.execution import Execution
from wildcast_server.jobs import SinkSpec
from wildcast_server.metrics import Metrics, TransferState
from wildcast_server.publish import Publishing
from wildcast_server.settings import Settings
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.transfer import Transfer
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.publication import Begin
from wildcast_server.wiring.publications import InPlace, InStore
from wildcast_server.wiring.publishing import build_publisher, live_requests
from wildcast_server.wiring.streaming import streaming_sink


def stores_of(settings: Settings, store: ObjectStore | None) -> dict[StorageType, ObjectStore]:
    """Return where the publications of each storage type lie; an earlier configuration may have used the other one."""
    stores: dict[StorageType, ObjectStore] = {"server": open_store(settings.output_dir.as_uri(), StoreOptions())}
    if store is not None:
        stores["s3"] = store
    return stores


def ending_of(settings: Settings) -> Ending:
    """Build what decides on the ends of executions."""
    storage = settings.object_storage
    return Ending("s3" if storage.enabled else "server", storage.prefix, settings.results.retention_seconds)


def begin_of(settings: Settings, transfer: Transfer | None, metrics: Metrics) -> Begin:
    """Build what begins publications: by `transfer` into its store, or where they are if there is none."""
    if transfer is None:
        return InPlace
    store = transfer.store
    metrics.watch_transfer(
        lambda: TransferState(
            limit=transfer.budget.limit,
            in_flight=transfer.budget.in_flight,
            slow_downs=store.slow_downs,
            retries=store.retries,
        )
    )
    publisher = build_publisher(settings, store, transfer, metrics.transfer_observer)
    publish_live = settings.results.publish_live and live_requests(settings.object_storage) > 0

    def sink(publishing: Publishing) -> SinkSpec | None:
        ledger = publishing.streamed
        return None if ledger is None else streaming_sink(settings, publishing.prefix, ledger)

    def begin(directory: Path, execution: Execution, *, afresh: bool) -> InStore:
        publishing = publisher.begin(
            directory,
            execution.id,
            attempt=execution.attempt,
            afresh=afresh,
            first=execution.place,
            may_be_seen=execution.partial_asked,
        )
        return InStore(publishing, sink, publish_live=publish_live)

    return begin
