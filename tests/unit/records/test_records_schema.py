"""The schema's version, and its migrations."""

import io
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import SchemaMismatchError
from wildcast_server.records import SqlRecords, ensure_schema, migrate, open_engine, schema
from wildcast_server.records.tables import metadata


@pytest.fixture
def engine(database_url: str):
    """Open an empty database."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def other(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest):
    """Open another empty one of the same kind."""
    is_file = engine.dialect.name == "sqlite"
    url = f"sqlite:///{tmp_path / 'other.sqlite'}" if is_file else request.getfixturevalue("postgres").empty()
    opened = open_engine(url)
    yield opened
    opened.dispose()


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def definitions(engine: Engine) -> dict[str, object]:
    inspector = inspect(engine)
    return {
        name: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name),
            sorted(_index(index) for index in inspector.get_indexes(name)),
            sorted(str(key) for key in inspector.get_foreign_keys(name)),
            sorted(str(unique) for unique in inspector.get_unique_constraints(name)),
        )
        for name in sorted(inspector.get_table_names())
    }


def _index(index: dict) -> str:
    conditions = {name: str(condition) for name, condition in index.pop("dialect_options", {}).items()}
    return str((index, conditions))


def test_a_migrated_database_has_the_schema_of_the_tables(engine: Engine):
    """Alembic finds nothing left to change after migrating an empty database."""
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata) == []


OPTIONS = {"include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables}


def test_a_fresh_database_is_like_a_migrated_one(engine: Engine, other: Engine):
    """Making the schema at once or step by step comes to the same, the version's table included."""
    ensure_schema(engine)
    migrate(other)
    assert definitions(engine) == definitions(other)


def test_postgres_gets_the_same_schema(engine: Engine):
    """The statements of the migrations come to those of the tables in Postgres' dialect too."""
    dialect, written = postgresql.dialect(), io.StringIO()
    options = {"as_sql": True, "output_buffer": written}
    with Operations.context(MigrationContext.configure(dialect_name="postgresql", opts=options)), engine.begin() as own:
        for script in reversed(list(ScriptDirectory.from_config(schema._alembic_config(own)).walk_revisions())):
            script.module.upgrade()
    tables = metadata.sorted_tables
    made = [
        *(CreateTable(table).compile(dialect=dialect) for table in tables),
        *(CreateIndex(index).compile(dialect=dialect) for table in tables for index in table.indexes),
    ]
    assert _with_added_columns(_statements(written.getvalue())) == set(_statements(";".join(map(str, made))))


ADDED = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (.*)")


def _with_added_columns(statements: list[str]) -> set[str]:
    """Put each column that is added later where the table's own definition has it: behind the others."""
    additions = {statement: match for statement in statements if (match := ADDED.fullmatch(statement))}
    remaining = set(statements) - set(additions)
    for table, column in (match.groups() for match in additions.values()):
        head = f"CREATE TABLE {table} ("
        remaining = {
            text.replace(", CONSTRAINT", f", {column}, CONSTRAINT", 1) if text.startswith(head) else text
            for text in remaining
        }
    return remaining


def _statements(text: str) -> list[str]:
    return [" ".join(statement.split()) for statement in text.split(";") if statement.strip()]


def test_the_known_revisions_are_those_of_the_migrations(engine: Engine):
    """The constant that a start compares with names every migration, oldest first, and its last is the head."""
    with engine.begin() as connection:
        scripts = ScriptDirectory.from_config(schema._alembic_config(connection))
        known = [script.revision for script in scripts.walk_revisions()]
        assert tuple(reversed(known)) == schema.REVISIONS
        assert scripts.get_current_head() == schema.HEAD


def test_ensuring_twice_keeps_what_is_there(engine: Engine):
    """A restart finds the records of before."""
    ensure_schema(engine)
    SqlRecords(engine).insert(Execution(id="exec_1_00000001", workflow_name="w", parameters={}))
    ensure_schema(engine)
    assert SqlRecords(engine).get("exec_1_00000001").workflow_name == "w"


def test_an_older_schema_is_refused_with_the_command_that_mends_it(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """The operator is told what to run."""
    ensure_schema(engine)
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    monkeypatch.setattr(schema, "HEAD", "9999")
    with pytest.raises(SchemaMismatchError, match=r"older wildcast.*wildcast-server migrate"):
        ensure_schema(engine)


@pytest.mark.parametrize("call", [ensure_schema, migrate])
def test_a_newer_schema_is_refused(engine: Engine, call):
    """An old wildcast does not touch what a newer one has made."""
    ensure_schema(engine)
    run(engine, "UPDATE wildcast_schema SET version_num = '9999'")
    with pytest.raises(SchemaMismatchError, match="9999 of a newer wildcast"):
        call(engine)


@pytest.mark.parametrize("call", [ensure_schema, migrate])
def test_somebody_elses_tables_are_refused(engine: Engine, call):
    """A table of our name that we did not make is left alone."""
    run(engine, "CREATE TABLE executions (x INTEGER)")
    with pytest.raises(SchemaMismatchError, match="did not make"):
        call(engine)


def test_tables_that_are_not_ours_are_ignored(engine: Engine):
    """The engine of the jobs may share the database."""
    run(engine, "CREATE TABLE workflow_status (x INTEGER)")
    ensure_schema(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata) == []


def test_migrating_is_repeatable(engine: Engine):
    """A second run changes nothing."""
    migrate(engine)
    before = definitions(engine)
    migrate(engine)
    assert definitions(engine) == before
    ensure_schema(engine)


EXECUTION_OF_0001 = """
INSERT INTO executions (id, workflow_name, parameters, owner, status, attempt, created_at, progress)
VALUES ('exec_1_00000001', 'w', '{"n": 1}', 'ann', 'completed', 2, '2026-01-02 03:04:05.000000', '{"a": 1}')
"""

PUBLICATION_OF_0001 = """
INSERT INTO publications
    (execution_id, attempt, storage_type, prefix, files, bytes, manifest, verified, datasets, committed_at)
VALUES ('exec_1_00000001', 2, 's3', 'outputs/x', 1, 5, 'm', 'local', '[]', '2026-01-02 03:05:00.000000')
"""


def test_migrating_keeps_what_was_recorded(engine: Engine):
    """Executions of the first version's database are all there afterwards; what ran them is not known."""
    with engine.begin() as connection:
        command.upgrade(schema._alembic_config(connection), "0001")
    run(engine, EXECUTION_OF_0001)
    run(engine, PUBLICATION_OF_0001)
    migrate(engine)
    ensure_schema(engine)
    records = SqlRecords(engine)
    found = records.get("exec_1_00000001")
    assert (found.parameters, found.progress, found.owner, found.attempt) == ({"n": 1}, {"a": 1}, "ann", 2)
    assert found.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found.published.publication.prefix == "outputs/x"
    assert found.provenance is None
    assert (found.version, found.jobs, found.place, found.pinned, found.labels) == (0, 0, 1, False, {})
    assert found.deaths == 0
    assert found.name == "exec_1_00000001"
    changed = records.change(found.id, expected=found.status, to=ExecutionStatus.EXPIRED)
    assert (changed.version, changed.published) == (1, found.published)
    assert records.insert(Execution(id="exec_1_00000002", workflow_name="w", parameters={})).execution.sequence == 2


def test_a_failed_migration_leaves_the_database_as_it_was(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """All of a migration happens, or nothing of it."""
    import alembic.op

    def refuse(*_args: object, **_keywords: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(alembic.op, "create_index", refuse)
    with pytest.raises(RuntimeError, match="in the middle"):
        migrate(engine)
    assert definitions(engine) == {}


def test_a_start_does_not_import_alembic():
    """Checking a database takes no second of imports."""
    code = (
        "import sys; from wildcast_server.records import ensure_schema, open_engine; "
        "e = open_engine('sqlite://'); ensure_schema(e); ensure_schema(e); print('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
