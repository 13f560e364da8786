"""The schema's version: a fresh database is made, another version is refused, and `migrate` mends it.

Alembic is imported by `migrate` alone, since it takes most of a second: a start compares one value.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, func, inspect, select

from wildcast_server.errors import SchemaMismatchError
from wildcast_server.records.engine import translated
from wildcast_server.records.tables import metadata

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every version of the schema, oldest first."""

HEAD = REVISIONS[-1]

VERSION_TABLE = "wildcast_schema"
"""Ours alone: the engine of the jobs shares the database and has a table of its own for this."""

_SCHEMA_LOCK = 0x77696C6473636D61
"""Among Postgres' advisory locks, which the whole database shares: "wildscma" in ASCII."""

# As Alembic would make it.
_version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def ensure_schema(engine: Engine) -> None:
    """Make the schema in a fresh database; in any other, hold that it is this version's.

    Raises
    ------
    SchemaMismatchError
        If it is older, newer, or not wildcast's; the sentence says what to do.
    ServiceUnavailableError
        If the database cannot be reached.
    """
    with translated(), engine.begin() as connection:
        _lock(connection)
        if _is_fresh(connection):
            metadata.create_all(connection)
            _version.create(connection)
            connection.execute(_version.insert(), {"version_num": HEAD})
            logger.info("made the schema %s in a fresh database", HEAD)
        elif (found := _found(connection)) != HEAD:
            raise _mismatch(found)


def is_fresh(engine: Engine) -> bool:
    """Say whether the database has no table of wildcast's; makes none, but SQLite's own file.

    Raises
    ------
    ServiceUnavailableError
        If the database cannot be reached.
    """
    with translated(), engine.connect() as connection:
        return _is_fresh(connection)


def migrate(engine: Engine) -> None:
    """Bring the schema to this version, in one transaction.

    Raises
    ------
    SchemaMismatchError
        If it is newer than this wildcast, or not wildcast's.
    ServiceUnavailableError
        If the database cannot be reached.
    """
    from alembic import command

    with translated(), engine.begin() as connection:
        _lock(connection)
        if not _is_fresh(connection) and (found := _found(connection)) not in REVISIONS:
            raise _mismatch(found)
        command.upgrade(_alembic_config(connection), HEAD)


def _lock(connection: Connection) -> None:
    """Let no other process look at the schema or change it until the transaction ends; SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


def _is_fresh(connection: Connection) -> bool:
    names = set(inspect(connection).get_table_names())
    return names.isdisjoint({VERSION_TABLE, *metadata.tables})


def _found(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(_version.c.version_num)).scalar_one_or_none()


def _mismatch(found: str | None) -> SchemaMismatchError:
    if found is None:
        return SchemaMismatchError(
            "the database has tables of these names that wildcast did not make: name another in database.url"
        )
    if found in REVISIONS:
        return SchemaMismatchError(
            f"the database has the schema {found} of an older wildcast, and this one needs {HEAD}: "
            "stop the service, make a copy of the database, and run `wildcast-server migrate`"
        )
    return SchemaMismatchError(
        f"the database has the schema {found} of a newer wildcast, and this one knows {HEAD}: upgrade wildcast"
    )


def _alembic_config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
