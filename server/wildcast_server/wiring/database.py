"""The database that records and jobs share: opening it, making its tables, and bringing them to this version."""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, inspect, make_url, text

from wildcast_server.errors import ServiceUnavailableError, SettingsError
from wildcast_server.jobs.dbos_database import check_sqlite, translated
from wildcast_server.jobs.dbos_engine import SCHEMA, check_jobs, migrate_jobs
from wildcast_server.records import Records, SqlRecords, ensure_schema, migrate, open_engine
from wildcast_server.settings import Settings

logger = logging.getLogger(__name__)

_MAKING = 0x77696C64
"""The number of the lock under which tables are made in Postgres."""

_TRY = text("SELECT pg_try_advisory_lock(:number)")

_LOOK_SECONDS = 0.1
"""How often that lock is tried."""

WAIT_SECONDS = 60.0
"""How long another process is waited for that makes tables; a migration may take longer, or have been stopped."""

_SAY_SECONDS = 3.0
"""After which the log says what is waited for."""


def database_url(settings: Settings) -> str:
    """Return the URL with the driver that wildcast comes with.

    Raises
    ------
    SettingsError
        If it cannot be read, is of a database in memory, which other processes do not see, or this Python's SQLite is
        too old.
    """
    url = settings.database_url.get_secret_value()
    # It says what is wrong with a URL, and never repeats it.
    open_engine(url).dispose()
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise SettingsError("database.url is in memory, where other processes see nothing of it: name a file")
        check_sqlite(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def open_records(settings: Settings, *, busy_seconds: float | None = None) -> Records:
    """Open the records; nothing is connected yet. The arguments are those of `open_engine`."""
    return SqlRecords(open_engine(database_url(settings), busy_seconds=busy_seconds))


def ensure_database(settings: Settings) -> None:
    """Make all tables in a fresh database; hold of any other that its tables are this version's.

    Raises
    ------
    SettingsError
        As `database_url`.
    SchemaMismatchError
        If they are not; the sentence says what to do.
    ServiceUnavailableError
        If the database cannot be reached, or another process makes its tables for too long.
    """
    url = database_url(settings)
    engine = open_engine(url)
    try:
        with _alone(engine):
            ensure_schema(engine)
            if not _has_jobs(engine):
                migrate_jobs(url)
        check_jobs(url)
    finally:
        engine.dispose()


def migrate_database(settings: Settings) -> None:
    """Bring all tables to this version; raises as `ensure_database`."""
    url = database_url(settings)
    engine = open_engine(url)
    try:
        with _alone(engine):
            migrate(engine)
            migrate_jobs(url)
    finally:
        engine.dispose()


def _has_jobs(engine: Engine) -> bool:
    schema = None if engine.dialect.name == "sqlite" else SCHEMA
    with translated():
        return inspect(engine).has_table("workflow_status", schema=schema)


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Let no other process make tables meanwhile: those of one service start together."""
    if engine.dialect.name == "sqlite":
        with _locked(Path(f"{engine.url.database}.making")):
            yield
        return
    # In no transaction: DBOS makes indexes concurrently, for which it waits until all transactions have ended.
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")
    with translated(), alone.connect() as connection:
        # Not even while waiting in a statement, which is a transaction too.
        _wait_until(lambda: bool(connection.execute(_TRY, {"number": _MAKING}).scalar_one()))
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _MAKING})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SettingsError(f"the database's directory cannot be written ({error.strerror}): {path.parent}") from error
    try:
        _wait_until(lambda: _lock(descriptor))
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(is_ours: Callable[[], bool]) -> None:
    began, is_said = time.monotonic(), False
    while not is_ours():
        waited = time.monotonic() - began
        if waited > WAIT_SECONDS:
            raise ServiceUnavailableError(
                f"another process has been making or migrating the database's tables for {WAIT_SECONDS:g} seconds; "
                "start again when it has ended"
            )
        if waited > _SAY_SECONDS and not is_said:
            logger.warning("waiting for another process that makes or migrates the tables")
            is_said = True
        time.sleep(_LOOK_SECONDS)
