"""Many threads at once on one database."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution
from wildcast_server.errors import QueueFullError, StatusConflictError
from wildcast_server.records import Limits, Records, SqlRecords, ensure_schema, open_engine

THREADS = 16


@pytest.fixture
def engines(tmp_path: Path):
    """Two engines on one SQLite file, as two processes would have."""
    url = f"sqlite:///{tmp_path / 'race.sqlite'}"
    opened = [open_engine(url), open_engine(url)]
    yield opened
    for engine in opened:
        engine.dispose()


def together(work, number: int = THREADS) -> list[object]:
    """Run `work(index)` in threads that all begin at once; return results and exceptions."""
    barrier = threading.Barrier(number)

    def run(index: int) -> object:
        barrier.wait(timeout=30)
        try:
            return work(index)
        except StatusConflictError as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_exactly_one_wins_a_change(engines):
    """Of sixteen threads that make the same change, one gets the execution and fifteen get a conflict."""
    ensure_schema(engines[0])
    records: list[Records] = [SqlRecords(engine) for engine in engines]
    for round_number in range(5):
        new = Execution(id=f"exec_1_{round_number:08x}", workflow_name="w", parameters={})
        records[0].insert(new)

        def change(index: int, execution_id: str = new.id) -> Execution:
            return records[index % 2].change(
                execution_id, expected=ExecutionStatus.QUEUED, to=ExecutionStatus.RUNNING, progress={"by": index}
            )

        results = together(change)
        winners = [result for result in results if isinstance(result, Execution)]
        assert len(winners) == 1
        assert records[0].get(new.id).progress == winners[0].progress


def test_exactly_one_of_two_different_changes_wins(engines):
    """A cancel and a failure at the same time do not both happen."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]
    records[0].insert(Execution(id="exec_1_00000001", workflow_name="w", parameters={}))
    targets = (ExecutionStatus.CANCELLED, ExecutionStatus.FAILED)
    results = together(
        lambda index: records[index % 2].change(
            "exec_1_00000001", expected=ExecutionStatus.QUEUED, to=targets[index % 2]
        )
    )
    assert sum(isinstance(result, Execution) for result in results) == 1


def test_writers_wait_for_each_other(engines):
    """Sixteen threads insert and change at once, and no write is lost or refused as locked."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]

    def submit_and_start(index: int) -> None:
        mine = records[index % 2]
        for number in range(5):
            new = Execution(id=f"exec_{index}_{number:08x}", workflow_name="w", parameters={})
            mine.insert(new)
            mine.change(new.id, expected=ExecutionStatus.QUEUED, to=ExecutionStatus.RUNNING)
            mine.set_progress(new.id, 1, {"progress": number})

    together(submit_and_start)
    found = records[0].unfinished()
    assert len(found) == THREADS * 5
    assert all(execution.progress is not None for execution in found)


def test_a_bounded_queue_never_overflows(engines):
    """Sixteen threads of two engines that submit at once get exactly as many places as there are."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]

    def submit(index: int) -> bool:
        new = Execution(id=f"exec_{index}_00000000", workflow_name="w", parameters={})
        try:
            records[index % 2].insert(new, limits=Limits(max_queued=5))
        except QueueFullError:
            return False
        return True

    assert together(submit).count(True) == 5
    assert len(records[0].unfinished()) == 5


def test_processes_that_start_together_make_the_schema_once(engines):
    """A fresh database is made by the first; the others find it made."""
    assert together(lambda index: ensure_schema(engines[index % 2]), 8) == [None] * 8


def test_a_memory_database_is_shared_by_threads():
    """Threads see the same database in memory, and take turns."""
    engine = open_engine("sqlite://")
    ensure_schema(engine)
    records = SqlRecords(engine)
    together(lambda index: records.insert(Execution(id=f"exec_{index}_00000000", workflow_name="w", parameters={})))
    assert len(records.unfinished()) == THREADS
    records.close()


def test_a_connection_waits_for_one_that_holds_a_fresh_database(tmp_path: Path):
    """Turning the write-ahead log on waits for whoever is at work, although SQLite itself refuses at once."""
    path = tmp_path / "fresh.sqlite"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("CREATE TABLE other (x)")
    release = threading.Timer(0.3, holder.rollback)
    release.start()
    engine = open_engine(f"sqlite:///{path}")
    try:
        ensure_schema(engine)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    finally:
        engine.dispose()
        release.join()
        holder.close()
