"""Many threads at once on one database."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.outbox import NewRemoval
from wildcast_server.errors import QueueFullError, StatusConflictError
from wildcast_server.records import (
    Accepted,
    Effects,
    Limits,
    Records,
    SqlRecords,
    Submission,
    ensure_schema,
    open_engine,
)
from wildcast_server.settings import WorkflowLimits

THREADS = 16


@pytest.fixture
def engines(database_url: str):
    """Two engines on one database without tables, as two processes would have."""
    opened = [open_engine(database_url), open_engine(database_url)]
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


def test_a_bounded_workflow_never_overflows(engines):
    """The same for the bound of one workflow, in batches."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]
    limits = Limits(per_workflow={"w": WorkflowLimits(max_unfinished=7)})

    def submit(index: int) -> int:
        ids = [f"exec_{index}_{number:08x}" for number in range(4)]
        given = [Submission(execution=Execution(id=name, workflow_name="w", parameters={})) for name in ids]
        return sum(isinstance(outcome, Accepted) for outcome in records[index % 2].insert_all(given, limits=limits))

    assert sum(together(submit)) == 7
    assert len(records[0].unfinished()) == 7


def test_one_key_is_one_execution(engines):
    """Sixteen threads that submit the same request at once get the same execution, which one of them made."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]

    def submit(index: int) -> Accepted:
        new = Execution(id=f"exec_{index}_00000000", workflow_name="w", parameters={})
        return records[index % 2].insert(new, key="k", fingerprint="f")

    outcomes = together(submit)
    assert len({outcome.execution.id for outcome in outcomes}) == 1
    assert [outcome.is_new for outcome in outcomes].count(True) == 1
    assert len(records[0].unfinished()) == 1


def test_positions_are_those_of_the_order(engines):
    """Whoever submits at the same time is told another position, and it is the one in the queue."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]
    accepted = together(
        lambda index: records[index % 2].insert(Execution(id=f"exec_{index}_0", workflow_name="w", parameters={}))
    )
    told = {each.execution.id: each.position for each in accepted}
    assert told == {found.id: place for place, found in enumerate(records[0].unfinished())}


def test_what_is_due_is_claimed_once(engines):
    """Sixteen threads that ask at once share the removals and expiries among them."""
    ensure_schema(engines[0])
    records = [SqlRecords(engine) for engine in engines]
    now = utc_now()
    for number in range(30):
        name = f"exec_1_{number:08x}"
        records[0].insert(Execution(id=name, workflow_name="w", parameters={}))
        records[0].change(name, expected=ExecutionStatus.QUEUED, to=ExecutionStatus.FAILED, expires_at=now)

    def effects(execution: Execution) -> Effects:
        gone = NewRemoval(execution_id=execution.id, attempt=1, storage_type="s3", name="n", reason="expired")
        return Effects(removals=[gone])

    def work(index: int) -> tuple[list[str], list[str]]:
        mine = records[index % 2]
        expired, claimed = mine.expire(now, limit=5, effects=effects), []
        while removals := mine.due_removals(utc_now(), site=None, lease_seconds=60, limit=3):
            claimed += [removal.execution_id for removal in removals]
        return [execution.id for execution in expired], claimed

    results = together(work)
    names = sorted(f"exec_1_{number:08x}" for number in range(30))
    assert sorted(name for expired, _ in results for name in expired) == names
    left = records[0].due_removals(utc_now(), site=None, lease_seconds=60, limit=99)
    claimed = [name for _, claimed in results for name in claimed] + [removal.execution_id for removal in left]
    assert sorted(claimed) == names


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
