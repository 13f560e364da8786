"""Opening databases, and what their errors become."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import pytest
from sqlalchemy import Dialect, Engine, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from wildcast_server.domain.execution import Execution
from wildcast_server.errors import RecordError, ServiceUnavailableError, SettingsError
from wildcast_server.records import SqlRecords, ensure_schema, open_engine
from wildcast_server.records import engine as engine_module
from wildcast_server.records.tables import UtcDateTime


@pytest.fixture
def engine(tmp_path: Path):
    """Open a database file with the schema, in a directory that was not there."""
    opened = open_engine(f"sqlite:///{tmp_path / 'deep' / 'er' / 'r.sqlite'}")
    ensure_schema(opened)
    yield opened
    opened.dispose()


def pragma(engine: Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def test_sqlite_has_a_write_ahead_log_and_foreign_keys(engine: Engine):
    """Readers do not wait for the writer, and a publication belongs to an execution."""
    assert (pragma(engine, "journal_mode"), pragma(engine, "foreign_keys")) == ("wal", 1)


def test_a_publication_without_execution_is_refused(engine: Engine):
    """The database itself holds the reference."""
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO publications (execution_id, attempt, storage_type, prefix, files, bytes, manifest, "
                "verified, datasets, committed_at) VALUES ('x', 1, 's3', 'p', 1, 1, 'm', 'local', '[]', '2026-01-01')"
            )
        )


def test_a_transaction_takes_the_write_lock_when_it_begins(engine: Engine):
    """Reading first and writing then cannot fail because somebody else wrote in between."""
    with engine.begin() as first:
        first.execute(text("SELECT count(*) FROM executions"))
        other = sqlite3.connect(str(engine.url.database), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_reading_does_not_wait_for_a_writer(engine: Engine):
    """A status request is answered while somebody writes, with what was there before."""
    records = SqlRecords(engine)
    records.insert(Execution(id="exec_1_00000001", workflow_name="w", parameters={}))
    answered: list[object] = []
    with engine.begin() as writer:
        writer.execute(text("DELETE FROM executions"))
        thread = threading.Thread(target=lambda: answered.append(records.get("exec_1_00000001").status))
        thread.start()
        thread.join(timeout=10)
        assert answered == ["queued"]


@pytest.mark.parametrize(("dialect", "zone"), [(sqlite.dialect(), None), (postgresql.dialect(), UTC)])
def test_times_lie_in_the_database_in_utc(dialect: Dialect, zone: tzinfo | None):
    """A time of any zone is stored as that moment in UTC, with its zone where the database keeps zones."""
    there = datetime(2026, 1, 2, 12, 0, tzinfo=timezone(timedelta(hours=5)))
    stored = UtcDateTime().process_bind_param(there, dialect)
    assert stored == datetime(2026, 1, 2, 7, 0, tzinfo=zone)
    assert UtcDateTime().process_result_value(stored, dialect) == there


def test_a_database_that_stays_locked_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An outage of the database is no failure of an execution."""
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.1)
    opened = open_engine(f"sqlite:///{tmp_path / 'locked.sqlite'}")
    ensure_schema(opened)
    other = sqlite3.connect(tmp_path / "locked.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailableError, match="locked"):
        SqlRecords(opened).insert(Execution(id="exec_1_00000001", workflow_name="w", parameters={}))
    other.close()
    opened.dispose()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    """A damaged file is told, and not overwritten."""
    path = tmp_path / "not.sqlite"
    path.write_text("this is text, and long enough to be looked at as a database's first page\n" * 20)
    opened = open_engine(f"sqlite:///{path}")
    with pytest.raises(RecordError, match="not a database"):
        ensure_schema(opened)
    assert path.read_text().startswith("this is text")
    opened.dispose()


def test_errors_do_not_repeat_parameters(engine: Engine):
    """What users submitted does not get into a log through an error."""
    records = SqlRecords(engine)
    run = {"token": "canary-7d1f"}
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE publications"))
        connection.execute(text("DROP TABLE executions"))
    with pytest.raises(ServiceUnavailableError) as caught:
        records.insert(Execution(id="exec_1_00000001", workflow_name="w", parameters=run))
    assert "canary-7d1f" not in f"{caught.value!r} {caught.value.__cause__!s}"


@pytest.mark.parametrize(
    "url", ["canary-7d1f", "nonsense://u:canary-7d1f@h/d", "postgresql+nodriver://u:canary-7d1f@h/d"]
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str):
    """The sentence names the setting and keeps the password."""
    with pytest.raises(SettingsError, match=r"database\.url") as caught:
        open_engine(url)
    assert "canary-7d1f" not in f"{caught.value} {caught.value.__cause__}"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path):
    """A file where a directory should be stops the start with its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="file/below cannot be made"):
        open_engine(f"sqlite:///{tmp_path / 'file' / 'below' / 'r.sqlite'}")
