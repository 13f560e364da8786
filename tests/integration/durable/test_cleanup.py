"""`wildcast-server cleanup` says what it will do, and does that and no more."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import MetaData, inspect, select, update
from tests.databases import Postgres

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import SettingsError
from wildcast_server.jobs import Job
from wildcast_server.jobs.dbos_engine import DbosQueue
from wildcast_server.records import Effects, Records, open_engine
from wildcast_server.records.tables import removals
from wildcast_server.settings import Settings
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.queues import compute_job
from wildcast_server.wiring.cleanup import cleanup
from wildcast_server.wiring.database import database_url as url_of
from wildcast_server.wiring.database import ensure_database, open_records
from wildcast_server.wiring.identity import site_of
from wildcast_server.wiring.outputs import ending_of
from wildcast_server.wiring.publishing import build_publisher, build_store

S = ExecutionStatus
LONG_AGO = utc_now() - timedelta(days=100)


@dataclass
class Installation:
    """Settings, and what has run under them."""

    settings: Settings
    records: Records
    jobs: DbosQueue
    number: int = 0
    said: list[str] = field(default_factory=list)

    def running(self) -> Execution:
        """Record an execution that runs, and what it has written."""
        self.number += 1
        execution = Execution(
            id=f"exec_1_{self.number:08x}", workflow_name="simulate", parameters={}, jobs=1, created_at=LONG_AGO
        )
        self.records.insert(
            execution, within=lambda inserted, connection: self.jobs.enqueue(compute_job(inserted), connection)
        )
        begun = self.records.begin_attempt(
            execution.id,
            job=1,
            worker="gone",
            site=site_of(self.settings),
            reuse=False,
            elsewhere=False,
            started_at=LONG_AGO,
        )
        directory = self.settings.output_dir / execution.id
        directory.mkdir(parents=True)
        (directory / "a.txt").write_text("alpha")
        return begun

    def ended(self, status: ExecutionStatus, expires_at=None) -> Execution:
        """Record one that ended long ago; its job is not done, since nobody has worked on it."""
        execution, changes = self.running(), {}
        if status is S.COMPLETED:
            publisher = build_publisher(self.settings, build_store(self.settings))
            published = publisher.publish(self.settings.output_dir / execution.id, execution.id)
            execution = self.records.change(execution.id, expected=execution.status, to=S.PENDING_RESULTS)
            changes = {"published": as_record(published, 1)}
        return self.records.change(
            execution.id, expected=execution.status, to=status, ended_at=LONG_AGO, expires_at=expires_at, **changes
        )

    def delete(self, execution: Execution) -> None:
        wanted = ending_of(self.settings).removals(execution, "deleted")
        self.records.mark(
            execution.id, expected=execution.status, deleted_at=LONG_AGO, effects=Effects(removals=wanted)
        )

    def cleanup(self, *, dry_run: bool) -> list[str]:
        lines: list[str] = []
        cleanup(self.settings, dry_run=dry_run, say=lines.append)
        return lines

    def state(self) -> str:
        """Return a hash of all rows of all tables, and of all files."""
        engine = open_engine(url_of(self.settings))
        found = hashlib.sha256()
        with engine.connect() as connection:
            for schema in (None, "dbos") if engine.dialect.name == "postgresql" else (None,):
                tables = MetaData()
                tables.reflect(connection, schema=schema)
                for table in tables.sorted_tables:
                    rows = sorted(repr(tuple(row)) for row in connection.execute(select(table)))
                    found.update(f"{table.name}{rows}".encode())
        engine.dispose()
        for path in self.files():
            found.update(f"{path}{Path(path).read_bytes()!r}".encode())
        return found.hexdigest()

    def let_pass(self, time: timedelta) -> None:
        """Make what is to be removed older."""
        engine = open_engine(url_of(self.settings))
        with engine.begin() as connection:
            for task_id, requested_at in connection.execute(select(removals.c.id, removals.c.requested_at)).all():
                older = update(removals).where(removals.c.id == task_id)
                connection.execute(older.values(requested_at=requested_at - time))
        engine.dispose()

    def files(self) -> list[str]:
        """Return all files but the database's own."""
        every = self.settings.data_dir.rglob("*")
        return sorted(str(path) for path in every if path.is_file() and "wildcast.sqlite" not in path.name)


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "database": {"url": database_url},
            "object_storage": {"enabled": True},
            "results": {"keep_records_seconds": 86_400},
        }
    )
    ensure_database(settings)
    made = Installation(settings, open_records(settings), DbosQueue(url_of(settings)))
    yield made
    made.jobs.close()
    made.records.close()


@pytest.fixture
def full(installation: Installation) -> Callable[[], dict[str, Execution]]:
    """One of everything that is cleaned up, and of what is not."""

    def fill() -> dict[str, Execution]:
        made = {
            "running": installation.running(),
            "kept": installation.ended(S.COMPLETED),
            "expired now": installation.ended(S.COMPLETED, expires_at=LONG_AGO),
            "failed": installation.ended(S.FAILED, expires_at=LONG_AGO),
            "later": installation.ended(S.FAILED, expires_at=utc_now() + timedelta(days=1)),
            "deleted": installation.ended(S.COMPLETED),
            "forgotten": installation.ended(S.FAILED),
        }
        installation.delete(made["deleted"])
        installation.records.mark(made["forgotten"].id, expected=S.FAILED, deleted_at=LONG_AGO)
        orphan = installation.settings.output_dir / "exec_1_ffffffff"
        orphan.mkdir()
        os.utime(orphan, (0, 0))
        return made

    return fill


@pytest.mark.long_on_postgres
def test_a_dry_run_says_what_the_next_one_does(installation, full) -> None:
    """The same lines, and nothing changes before: neither a row nor a file."""
    made = full()
    before = installation.state()

    said = installation.cleanup(dry_run=True)
    assert installation.state() == before
    assert said[-1] == "nothing was changed"
    assert installation.cleanup(dry_run=False) == said[:-1]

    for name in ("expired now", "failed", "deleted", "forgotten"):
        assert any(made[name].id in line for line in said), name
    assert any("exec_1_ffffffff" in line for line in said)
    assert not [line for name in ("running", "kept", "later") for line in said if made[name].id in line]


def test_what_it_said_is_gone_and_everything_else_is_there(installation, full) -> None:
    """Results of what has expired or was deleted go; what runs, is kept, or expires later stays."""
    made = full()

    installation.cleanup(dry_run=False)

    left = {name for name in made if any(made[name].id in path for path in installation.files())}
    # Nothing refers to what is left of the forgotten one now, and it is too young for an orphan.
    assert left == {"running", "kept", "later", "forgotten"}
    assert installation.records.get(made["expired now"].id).status is S.EXPIRED
    assert installation.records.get(made["failed"].id).status is S.EXPIRED
    assert not (installation.settings.output_dir / "exec_1_ffffffff").exists()


@pytest.mark.long_on_postgres
def test_later_runs_forget_what_the_first_has_let_expire(installation, full) -> None:
    """What had only begun to be stored is removed once more before; then there is nothing to do any more."""
    made = full()
    installation.cleanup(dry_run=False)

    assert sorted(installation.cleanup(dry_run=False)) == sorted(
        [
            f"forget {made['expired now'].id}: expired",
            f"forget {made['deleted'].id}: deleted",
            late := f"remove what may have come late to outputs/{made['failed'].id}: expired",
        ]
    )
    # It was asked for a moment ago: what was on its way to the store then may still come.
    assert installation.cleanup(dry_run=False) == [late]
    installation.let_pass(timedelta(hours=1))
    assert installation.cleanup(dry_run=False) == [late]
    assert installation.cleanup(dry_run=False) == [f"forget {made['failed'].id}: expired"]
    assert installation.cleanup(dry_run=True) == ["nothing was changed"]


def test_what_failed_before_is_tried_at_once(installation) -> None:
    """An operator who has mended something does not wait for the pause to end."""
    execution = installation.ended(S.COMPLETED)
    installation.delete(execution)
    site = site_of(installation.settings)
    for removal in installation.records.due_removals(utc_now(), site=site, lease_seconds=60, limit=10):
        installation.records.removal_failed(removal.id, "the store was away", utc_now() + timedelta(hours=6))

    installation.cleanup(dry_run=False)

    assert not [path for path in installation.files() if execution.id in path]


def test_jobs_that_are_done_are_forgotten(installation) -> None:
    """An hour after their end; what waits stays."""
    for number in (1, 2):
        installation.jobs.enqueue(Job(f"exec_1_0000000f.{number}", "compute", "compute", "exec_1_0000000f", 1), None)
    installation.jobs.withdraw(["exec_1_0000000f.1"])
    assert installation.cleanup(dry_run=True) == ["nothing was changed"]

    assert installation.jobs.ended(utc_now() + timedelta(seconds=1), limit=10) == ["exec_1_0000000f.1"]
    assert installation.jobs.ended(utc_now() - timedelta(hours=1), limit=10) == []


def test_no_database_is_made_by_cleaning_up(tmp_path: Path) -> None:
    """Where nothing has run yet, that is said."""
    with pytest.raises(SettingsError, match="nothing has run here yet"):
        cleanup(Settings(data_dir=tmp_path / "data"), dry_run=True, say=print)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("dry_run", [True, False])
def test_no_table_is_made_by_cleaning_up(tmp_path: Path, postgres: Postgres, dry_run: bool) -> None:
    """Not in a database either that is there and empty."""
    settings = Settings.model_validate({"data_dir": tmp_path / "data", "database": {"url": postgres.empty()}})
    with pytest.raises(SettingsError, match="nothing has run here yet"):
        cleanup(settings, dry_run=dry_run, say=print)
    engine = open_engine(url_of(settings))
    assert inspect(engine).get_table_names() == []
    engine.dispose()
