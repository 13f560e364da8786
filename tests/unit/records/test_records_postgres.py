"""What only a server can do: be named without a driver, go away, come back, refuse to write."""

import time

import pytest
from sqlalchemy import create_engine, make_url, text

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import RecordError, ServiceUnavailableError
from wildcast_server.records import SqlRecords, ensure_schema, open_engine

NAME = "exec_1_00000001"


@pytest.fixture
def records(postgres):
    """Open empty records on the server, whose URL names no driver."""
    url = postgres.emptied()
    assert url.startswith("postgresql://")
    opened = SqlRecords(open_engine(url))
    yield opened
    opened.close()


def submit(records: SqlRecords, name: str = NAME, **fields: object) -> None:
    records.insert(Execution(id=name, workflow_name="w", parameters={}).with_changes(**fields))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_the_driver_is_ours_unless_another_is_named(scheme: str):
    """SQLAlchemy's own choice is one that is not installed."""
    engine = open_engine(f"{scheme}://u:p@h/d")
    assert (engine.dialect.name, engine.driver) == ("postgresql", "psycopg")


def test_what_the_url_says_wins():
    """Whoever knows the network better says so."""
    engine = open_engine("postgresql://h/d?connect_timeout=60")
    _, options = engine.dialect.create_connect_args(engine.url)
    assert options["connect_timeout"] == "60"


def test_a_server_that_goes_away_is_unavailable_until_it_is_back(records: SqlRecords, postgres):
    """Every call says so, and soon; nothing is lost, and the same records go on without being opened again."""
    submit(records)
    postgres.stop()
    try:
        for call in (lambda: records.get(NAME), records.check, lambda: submit(records, "exec_1_00000002")):
            began = time.monotonic()
            with pytest.raises(ServiceUnavailableError, match="cannot be used now"):
                call()
            assert time.monotonic() - began < 5
    finally:
        postgres.start()
    assert records.get(NAME).status is ExecutionStatus.QUEUED
    submit(records, "exec_1_00000002")


def test_a_connection_that_was_cut_is_replaced(records: SqlRecords, postgres):
    """An idle one that the server ended is noticed before it is used."""
    submit(records)
    _run(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wildcast'")
    assert records.get(NAME).id == NAME


def test_a_server_that_only_reads_is_unavailable(records: SqlRecords, postgres):
    """A standby that has not taken over yet is an outage, and no failure of what was to be recorded."""
    submit(records)
    database = make_url(postgres.emptied()).database
    submit(records)
    _run(postgres, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    fresh = SqlRecords(open_engine(postgres.url(str(database))))
    try:
        with pytest.raises(ServiceUnavailableError, match="read-only"):
            submit(fresh, "exec_1_00000002")
        assert fresh.get(NAME).id == NAME
    finally:
        _run(postgres, f"ALTER DATABASE {database} RESET default_transaction_read_only")
        fresh.close()


def test_errors_do_not_repeat_values(records: SqlRecords, postgres):
    """Postgres tells rows in the further lines of its errors."""
    with pytest.raises(RecordError) as caught:
        submit(records, workflow_name="canary-\0-7d1f")
    assert "canary" not in f"{caught.value!r}"
    engine = open_engine(postgres.empty())
    ensure_schema(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE executions ADD CHECK (workflow_name = 'x')"))
    with pytest.raises(RecordError, match="violates check constraint") as caught:
        submit(SqlRecords(engine), workflow_name="canary-7d1f")
    assert "canary" not in f"{caught.value!r}"
    engine.dispose()


def test_a_password_is_not_repeated(postgres):
    """Nor is the URL, by a server that refuses or is not there."""
    url = make_url(postgres.url("nowhere")).set(password="canary-7d1f")
    engine = open_engine(url.render_as_string(hide_password=False))
    with pytest.raises(ServiceUnavailableError, match="does not exist") as caught:
        ensure_schema(engine)
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!s} {engine!r}"


def _run(postgres, statement: str) -> None:
    url = make_url(postgres.url()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
