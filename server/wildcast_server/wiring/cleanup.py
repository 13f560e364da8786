"""Cleaning up: in every worker, again and again, and at an operator's request."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wildcast_server.domain.execution import utc_now
from wildcast_server.domain.outbox import Removal
from wildcast_server.errors import SettingsError
from wildcast_server.jobs import JobQueue
from wildcast_server.jobs.dbos_engine import DbosQueue
from wildcast_server.publish.ledgers import Ledgers
from wildcast_server.records import Records, is_fresh, open_engine
from wildcast_server.settings import Settings
from wildcast_server.store import ObjectStore
from wildcast_server.store.invalidation import Invalidation
from wildcast_server.transfer import Transfer
from wildcast_server.usecases.expiry import Expire
from wildcast_server.usecases.maintenance import Pass
from wildcast_server.usecases.pruning import JOBS_KEPT, Prune
from wildcast_server.usecases.removal import AFTERWARDS, LEASE_SECONDS, LONGEST_PAUSE, Remove
from wildcast_server.usecases.sweeping import Orphan, Sweep
from wildcast_server.usecases.webhooks import Deliver, outgoing_of
from wildcast_server.wiring.database import database_url, ensure_database, open_records
from wildcast_server.wiring.identity import SITE_FILE
from wildcast_server.wiring.outputs import ending_of, stores_of
from wildcast_server.wiring.publishing import build_store, build_transfer, deletion_budget, ledgers_of, store_options

if TYPE_CHECKING:
    from wildcast_server.domain.outbox import NewRemoval

EVERY = 1_000_000
"""More than there are; what is cleaned up by hand is told as a whole."""


@dataclass(frozen=True, kw_only=True)
class LifeCycle:
    """What follows the ends of executions; each is called again and again, from one thread at a time."""

    deliver: Deliver
    expire: Expire
    remove: Remove
    sweep: Sweep
    prune: Prune

    @property
    def passes(self) -> list[Pass]:
        """Return them with how often they are done."""
        return [
            Pass("webhooks", self.deliver, 1.0),
            Pass("removal", self.remove, 2.0),
            Pass("expiry", self.expire, 10.0),
            Pass("pruning", self.prune, 300.0),
            Pass("sweeping", self.sweep, 3600.0),
        ]


def life_cycle(
    settings: Settings,
    records: Records,
    jobs: JobQueue,
    store: ObjectStore | None,
    site: str,
    transfer: Transfer | None,
) -> LifeCycle:
    """Put it together.

    Parameters
    ----------
    store
        Where results are published; None where object storage is off.
    site
        The disk that this machine's output directories are on.
    transfer
        Into that store, of this process.
    """
    stores, prefix = stores_of(settings, store), settings.object_storage.prefix
    return LifeCycle(
        deliver=Deliver(records=records, settings=settings.webhooks, outgoing=outgoing_of(settings.webhooks)),
        expire=Expire(records=records, ending=ending_of(settings)),
        remove=Remove(
            records=records,
            stores=stores,
            output_root=settings.output_dir,
            site=site,
            prefix=prefix,
            ledgers=Ledgers(ledgers_of(settings), "" if store is None else store.uri),
            forget=_forgetting(settings),
            budget=deletion_budget(settings.object_storage, transfer),
            afterwards=max(AFTERWARDS, timedelta(seconds=2 * settings.object_storage.retry_deadline)),
        ),
        sweep=Sweep(
            records=records,
            stores=stores,
            output_root=settings.output_dir,
            after_seconds=settings.results.orphans_after_seconds,
            prefix=prefix,
        ),
        prune=Prune(records=records, jobs=jobs, keep_records_seconds=settings.results.keep_records_seconds, site=site),
    )


def cleanup(settings: Settings, *, dry_run: bool, say: Callable[[str], object]) -> None:
    """Let expire, remove, sweep and forget all that is due, also what would be tried later; say what.

    A service may run meanwhile. What has expired now is forgotten by a later run, and what had begun to be stored is
    removed again by it, ten minutes after its end.

    Parameters
    ----------
    dry_run
        Whether to say it only.
    say
        Told each line.

    Raises
    ------
    SettingsError, SchemaMismatchError, ServiceUnavailableError
        If there is no database of this version, or it cannot be reached.
    """
    _check_there_is_one(settings)
    ensure_database(settings)
    records, jobs = open_records(settings), DbosQueue(database_url(settings))
    try:
        store = build_store(settings) if settings.object_storage.enabled else None
        transfer = None if store is None else build_transfer(settings, store)
        parts = life_cycle(settings, records, jobs, store, _site(settings), transfer)
        for line in _plan(parts):
            say(line)
        if dry_run:
            say("nothing was changed")
            return
        parts.prune()
        parts.expire()
        # As if all pauses were over, and the leases of whoever was killed; each is tried once.
        replace(parts.remove, ahead=LONGEST_PAUSE + timedelta(seconds=LEASE_SECONDS), batch=EVERY)()
        parts.sweep()
    finally:
        jobs.close()
        records.close()


def _forgetting(settings: Settings) -> Callable[[str, str], None]:
    """Return what lets the distribution forget keys, if one is named that can be told so."""
    distribution = settings.object_storage.cloudfront_distribution_id
    if distribution is None:
        return Remove.forget
    return Invalidation(distribution, store_options(settings.object_storage))


def _plan(parts: LifeCycle) -> Iterator[str]:
    """Tell what is due; nothing is changed."""
    records, now = parts.expire.records, utc_now()
    if jobs := parts.prune.jobs.ended(now - JOBS_KEPT, limit=EVERY):
        yield f"forget {len(jobs)} jobs that have ended"
    for execution in records.prunable(parts.prune.oldest_kept, limit=EVERY):
        yield f"forget {execution.id}: {'deleted' if execution.deleted_at else execution.status}"
    site = parts.remove.site
    removals: list[NewRemoval] = [*records.open_removals(site=site, limit=EVERY)]
    for execution in records.expirable(now, limit=EVERY):
        yield f"expire {execution.id}: {execution.status}, kept until {execution.expires_at}"
        expired = parts.expire.ending.removals(execution, "expired")
        removals += [removal for removal in expired if removal.site in (None, site)]
    for removal in removals:
        what = removal.prefix or parts.remove.output_root / removal.name
        if isinstance(removal, Removal) and removal.tries and not removal.committed:
            yield f"remove what may have come late to {what}: {removal.reason}"
        else:
            yield f"remove {what}: {removal.reason}"
    for orphan in parts.sweep.find():
        yield _tell(orphan)


def _tell(orphan: Orphan) -> str:
    return f"{'remove' if orphan.is_ours else 'leave'} {orphan}"


def _check_there_is_one(settings: Settings) -> None:
    """Make no database, and no table, by looking for one."""
    engine = open_engine(database_url(settings))
    try:
        name, is_file = engine.url.database, engine.dialect.name == "sqlite"
        if (is_file and not Path(str(name)).exists()) or is_fresh(engine):
            raise SettingsError(f"there are no records in the database {name}: nothing has run here yet")
    finally:
        engine.dispose()


def _site(settings: Settings) -> str:
    """Return the name of the disk of `output_dir`; one that has none was never written to, and is not named here."""
    try:
        return (settings.output_dir / SITE_FILE).read_text().strip()
    except OSError:
        return ""
