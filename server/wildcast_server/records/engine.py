"""Opening the database, and reading its driver's errors."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from wildcast_server.errors import RecordError, ServiceUnavailableError, SettingsError

BUSY_SECONDS = 30.0
"""How long a writer waits for another one in SQLite."""

WAIT_SECONDS = 3
"""How long to wait for a server that does not answer, and for a connection while all are in use."""

_SERVER_OPTIONS = {
    "application_name": "wildcast",
    "connect_timeout": WAIT_SECONDS,
    # A server whose network is gone acknowledges nothing and closes nothing; in milliseconds.
    "tcp_user_timeout": 15_000,
}
"""Of libpq ("Parameter Key Words"); the URL may say otherwise."""

_POSTGRES = ("postgresql", "postgres")

_UNAVAILABLE_STATES = ("25006", "25P03")
"""SQLSTATE of a server that only reads, such as a standby, and of one that has ended a session: others' errors are of
classes that say so (PostgreSQL, "Error Codes")."""

_DEFERRED = "wildcast_deferred"


def open_engine(url: str, *, busy_seconds: float | None = None) -> Engine:
    """Open a database; nothing is connected yet.

    In SQLite every transaction takes the write lock at its beginning (``BEGIN IMMEDIATE``), because one that reads
    first and then writes fails whenever another has written in between; those of `reading` do not. The journal is a
    write-ahead log, so readers and the writer do not wait for each other. A memory database is one connection, which
    threads take in turn.

    Parameters
    ----------
    url
        SQLAlchemy's: ``sqlite:////srv/wildcast.sqlite``, ``postgresql://…``, whose driver is psycopg unless another
        one is named; ``sqlite://`` is in memory.
    busy_seconds
        How long a writer waits for another one in SQLite, if not `BUSY_SECONDS`.

    Raises
    ------
    SettingsError
        If the URL cannot be read, its driver is not installed, or SQLite's directory cannot be made.
    """
    parsed = _parse(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, BUSY_SECONDS if busy_seconds is None else busy_seconds)
        return _open_server(parsed)
    except ArgumentError as error:
        raise SettingsError("database.url names a database that is not known here") from error
    except ImportError as error:
        raise SettingsError(f"database.url needs a driver that is not installed: {error.name}") from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Its own message repeats the URL.
        raise SettingsError("database.url is not a database URL, such as sqlite:////srv/wildcast.sqlite") from None
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername in _POSTGRES else parsed


def _open_server(url: URL) -> Engine:
    server = {} if url.get_backend_name() != "postgresql" else _SERVER_OPTIONS
    arguments: dict[str, Any] = {name: value for name, value in server.items() if name not in url.query}
    driver: dict[str, Any] = {}
    if url.drivername == "postgresql+psycopg":
        from psycopg import RawCursor

        # SQLAlchemy numbers the parameters as Postgres does: psycopg would look for them anew in each long statement,
        # which took a fifth of the time of a submission.
        driver["paramstyle"] = "numeric_dollar"
        arguments["cursor_factory"] = RawCursor
    return create_engine(
        url, hide_parameters=True, pool_pre_ping=True, pool_timeout=WAIT_SECONDS, connect_args=arguments, **driver
    )


def _open_sqlite(url: URL, busy_seconds: float) -> Engine:
    options: dict[str, Any] = {}
    if url.database in (None, "", ":memory:"):
        options = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    elif not url.database.startswith("file:"):
        _make_directory(Path(url.database).parent)
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": busy_seconds, "check_same_thread": False},
        **options,
    )
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"the database's directory {directory} cannot be made: {error.strerror}") from error


def _on_connect(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late, at the first write: we begin them.
    connection.isolation_level = None
    cursor = connection.cursor()
    _set_journal(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _set_journal(cursor: sqlite3.Cursor) -> None:
    """Turn the write-ahead log on, once a database: the file remembers it.

    SQLite refuses the change at once while another connection is at work, whatever the busy timeout says, since two
    that waited for each other here would wait for ever. So we wait: processes may start together.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.01, 0.05))
        else:
            return


def _on_begin(connection: Connection) -> None:
    deferred = connection.get_execution_options().get(_DEFERRED, False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")


def reading(engine: Engine) -> Engine:
    """Return the same engine for transactions that only read, and need not wait for a writer."""
    return engine.execution_options(**{_DEFERRED: True})


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours; statements and their values are left out.

    Raises
    ------
    ServiceUnavailableError
        If the database could not be reached, was locked for too long, or could not write.
    RecordError
        For anything else that it refused.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise _unavailable(error) from error
    except PoolTimeoutError as error:
        raise ServiceUnavailableError("every connection to the database is in use: try again later") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _UNAVAILABLE_STATES:
            raise _unavailable(error) from error
        raise RecordError(f"the database refused: {_first_line(error)}") from error


def _unavailable(error: DBAPIError) -> ServiceUnavailableError:
    return ServiceUnavailableError("the database cannot be used now", _first_line(error))


def _first_line(error: DBAPIError) -> str:
    """Return what a driver says."""
    # Without what Postgres adds in further lines: those repeat values.
    return str(error.orig).partition("\n")[0]
