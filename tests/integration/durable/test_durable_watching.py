"""Waiting for changes in a database of each kind."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.api.standings import Standings
from wildcast_server.api.threads import Threads
from wildcast_server.api.waiting import TICK_SECONDS, Waiting
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.records import Records, SqlRecords, Standing, Submission, ensure_schema, open_engine
from wildcast_server.usecases.lookup import Lookup

ID = "exec_1_00000001"
BEFORE = "exec_1_00000000"

CHANGES: dict[str, Callable[[Records], object]] = {
    "the status": lambda records: records.change(ID, expected=Status.QUEUED, to=Status.CANCELLED),
    "the position": lambda records: records.change(BEFORE, expected=Status.QUEUED, to=Status.CANCELLED),
    "a cancel": lambda records: records.mark(ID, expected=Status.QUEUED, cancel=True),
    "a pin": lambda records: records.mark(ID, expected=Status.QUEUED, pinned=True),
    "an attempt": lambda records: records.begin_attempt(
        ID, job=1, worker="w", site="s", reuse=False, elsewhere=False, started_at=utc_now()
    ),
}


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    """Records in one database after the other, with two executions."""
    engine = open_engine(database_url)
    ensure_schema(engine)
    opened = SqlRecords(engine)
    for name in (BEFORE, ID):
        opened.insert(Execution(id=name, workflow_name="w", parameters={}, jobs=1))
    yield opened
    opened.close()


@pytest.fixture
def others(database_url: str, records: SqlRecords) -> Iterator[SqlRecords]:
    """The same, as another process has them."""
    assert records
    opened = SqlRecords(open_engine(database_url))
    yield opened
    opened.close()


class Counted:
    """Lookups, counted."""

    def __init__(self, records: Records) -> None:
        self._lookup = Lookup(records)
        self.asked: list[int] = []

    def standings(self, execution_ids: Any) -> dict[str, Standing]:
        self.asked.append(len(execution_ids))
        return self._lookup.standings(execution_ids)


def _run(lookup: Any, scenario: Callable[[Waiting], Any]) -> Any:
    async def main() -> Any:
        threads = Threads("lookup", 1)
        try:
            return await scenario(Waiting(Standings(lookup, threads)))
        finally:
            threads.close(time.monotonic() + 5)

    return asyncio.run(main())


@pytest.mark.parametrize("what", CHANGES)
def test_what_another_process_changes_is_told(records: SqlRecords, others: SqlRecords, what: str):
    """Whatever it is, soon after it was committed."""
    before = Lookup(records).standings([ID])[ID]

    async def scenario(waiting: Waiting) -> tuple[Standing, float]:
        told = asyncio.ensure_future(waiting.changed("w", before, 30))
        await asyncio.sleep(0)
        await asyncio.to_thread(CHANGES[what], others)
        began = time.monotonic()
        return await told, time.monotonic() - began

    now, seconds = _run(Lookup(records), scenario)
    assert (now.execution.version, now.position) != (before.execution.version, before.position)
    assert seconds < TICK_SECONDS + 1


def test_progress_is_told(records: SqlRecords, others: SqlRecords):
    """Each time that a workflow reports some."""
    others.begin_attempt(ID, job=1, worker="w", site="s", reuse=False, elsewhere=False, started_at=utc_now())
    before = Lookup(records).standings([ID])[ID]

    async def scenario(waiting: Waiting) -> list[Any]:
        steps, standing = [], before
        for step in range(3):
            assert await asyncio.to_thread(others.set_progress, ID, 1, {"current_step": step})
            standing = await waiting.changed("w", standing, 30)
            steps.append(standing.execution.progress)
        return steps

    assert _run(Lookup(records), scenario) == [{"current_step": step} for step in range(3)]


def test_a_thousand_executions_are_waited_for_with_one_query_a_tick(records: SqlRecords, others: SqlRecords):
    """And whoever's execution changes is told, the others not."""
    names = [f"exec_2_{number:08x}" for number in range(1000)]
    submissions = [Submission(execution=Execution(id=name, workflow_name="w", parameters={}, jobs=1)) for name in names]
    records.insert_all(submissions)
    lookup = Counted(records)

    async def scenario(waiting: Waiting) -> tuple[list[Any], set[asyncio.Task[Any]]]:
        before = Lookup(records).standings(names)
        told = {name: asyncio.create_task(waiting.changed("w", before[name], 60)) for name in names}
        await asyncio.sleep(0)
        # The last ones: nobody else's position changes.
        for name in names[-3:]:
            await asyncio.to_thread(others.change, name, expected=Status.QUEUED, to=Status.CANCELLED)
        found = [(await told.pop(name)).execution.status for name in names[-3:]]
        rest = {task for task in told.values() if task.done()}
        for task in told.values():
            task.cancel()
        return found, rest

    found, rest = _run(lookup, scenario)
    assert found == [Status.CANCELLED] * 3
    assert not rest
    assert lookup.asked[0] == 1000
    assert len(lookup.asked) <= 4
