"""Executions that have ended and what they have left, in real stores and directories; a clock that is set by hand."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.publish import Publisher, publish_in_place
from wildcast_server.publish.ledgers import Ledgers
from wildcast_server.records import Records, SqlRecords, ensure_schema, open_engine
from wildcast_server.store import ObjectStore, StoreOptions, open_store
from wildcast_server.transfer import Transfer
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.expiry import Expire
from wildcast_server.usecases.outcome import as_record
from wildcast_server.usecases.removal import Remove

SITE = "00000001"
WORKER = "node-1-00000001-compute-1"
FILES = {"a.txt": b"alpha", "deep/b.txt": b"beta", "deep/deeper/c.bin": b"\0" * 100}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the records' tables, to be copied: making them takes longer than most of these tests."""
    path = tmp_path_factory.mktemp("database") / "empty.sqlite"
    engine = open_engine(f"sqlite:///{path}")
    ensure_schema(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def records(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Iterator[Records]:
    """Records in one kind of database after the other, empty."""
    if request.param == "sqlite":
        shutil.copy(empty_database, tmp_path / "r.sqlite")
        url = f"sqlite:///{tmp_path / 'r.sqlite'}"
    else:
        url = request.getfixturevalue("postgres").emptied()
    opened = SqlRecords(open_engine(url))
    yield opened
    opened.close()


@dataclass
class Clock:
    """Stands still unless it is moved; ahead of the records' own, so that what they make is due."""

    now: datetime = field(default_factory=lambda: utc_now() + timedelta(minutes=1))

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """A clock that is set by hand."""
    return Clock()


@dataclass
class World:
    """Executions, and where their output goes."""

    records: Records
    clock: Clock
    root: Path
    store: ObjectStore
    storage_type: str = "s3"
    retention_seconds: int | None = None
    forgotten: list[tuple[str, str]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.outputs.mkdir()
        (self.root / "transfers").mkdir()

    def forget(self, beginning: str, reference: str) -> None:
        """Stand for a CDN, which forgets."""
        self.forgotten.append((beginning, reference))

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def ledgers(self) -> Ledgers:
        return Ledgers(self.root / "transfers", self.store.uri)

    @property
    def ending(self) -> Ending:
        return Ending(self.storage_type, "outputs", self.retention_seconds, self.clock)

    @property
    def publisher(self) -> Publisher:
        return Publisher(
            self.store, Transfer(self.store, max_concurrency=4), prefix="outputs", ledgers=self.root / "transfers"
        )

    @property
    def remove(self) -> Remove:
        stores = {"server": open_store(self.outputs.as_uri(), StoreOptions())}
        if self.storage_type == "s3":
            stores["s3"] = self.store
        return Remove(
            records=self.records,
            stores=stores,
            output_root=self.outputs,
            site=SITE,
            prefix="outputs",
            ledgers=self.ledgers,
            forget=self.forget,
            clock=self.clock,
        )

    @property
    def expire(self) -> Expire:
        return Expire(records=self.records, ending=self.ending, clock=self.clock)

    def running(self, **fields: Any) -> Execution:
        """Record an execution that runs, and what it has written so far."""
        self.number += 1
        execution = Execution(id=f"exec_1_{self.number:08x}", workflow_name="simulate", parameters={}, jobs=1, **fields)
        self.records.insert(execution)
        begun = self.records.begin_attempt(
            execution.id, job=1, worker=WORKER, site=SITE, reuse=False, elsewhere=False, started_at=self.clock()
        )
        self.write(self.outputs / begun.name)
        return begun

    def write(self, directory: Path) -> None:
        for path, data in FILES.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)

    def ended(self, status: ExecutionStatus, **fields: Any) -> Execution:
        """Record an execution that has ended so, and leave behind what it would have."""
        execution = self.running(**fields)
        if status is not ExecutionStatus.COMPLETED:
            return self.end(execution, status)
        directory = self.outputs / execution.name
        if self.storage_type == "s3":
            published = self.publisher.publish(directory, execution.name)
        else:
            published = publish_in_place(directory, execution.name)
        pending = self.records.change(
            execution.id, expected=execution.status, to=ExecutionStatus.PENDING_RESULTS, new_job=True
        )
        return self.end(pending, status, published=as_record(published, 1))

    def end(self, execution: Execution, status: ExecutionStatus, **more: Any) -> Execution:
        changes, effects = self.ending(execution, status)
        return self.records.change(
            execution.id, expected=execution.status, to=status, effects=effects, **changes, **more
        )

    def objects(self) -> list[str]:
        """All objects in the store, sorted."""
        return sorted(info.key for info in self.store.list())

    def left(self) -> list[str]:
        """All files and directories below the output root, sorted."""
        return sorted(str(path.relative_to(self.outputs)) for path in self.outputs.rglob("*"))


@pytest.fixture
def make_world(records: Records, clock: Clock, tmp_path: Path) -> Callable[..., World]:
    """Make one, with a store of files unless another is given."""

    def make(**options: Any) -> World:
        if "store" not in options:
            (tmp_path / "objects").mkdir(exist_ok=True)
            options["store"] = open_store((tmp_path / "objects").as_uri(), StoreOptions())
        return World(records, clock, tmp_path, **options)

    return make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """One that publishes to a store, and keeps results for an hour."""
    return make_world(retention_seconds=3600)
