"""What nobody asks for any more is forgotten."""

from dataclasses import replace
from datetime import timedelta

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.errors import UnknownExecutionError
from wildcast_server.jobs import Job
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.usecases import pruning
from wildcast_server.usecases.pruning import Prune

S = ExecutionStatus
DAY = 86_400


@pytest.fixture
def jobs() -> MemoryJobs:
    return MemoryJobs()


@pytest.fixture
def prune(world, jobs) -> Prune:
    return Prune(records=world.records, jobs=jobs, keep_records_seconds=DAY, clock=world.clock)


def is_known(world, execution) -> bool:
    try:
        world.records.get(execution.id, deleted=True)
    except UnknownExecutionError:
        return False
    return True


def test_an_expired_execution_is_forgotten_after_its_time(world, prune) -> None:
    """Counted from its end; until then, it can be looked up."""
    execution = world.ended(S.COMPLETED)
    world.clock.pass_by(3600)
    world.expire()
    world.remove()
    world.clock.pass_by(DAY - 3600)
    assert prune() == 0
    assert is_known(world, execution)

    world.clock.pass_by(1)
    assert prune() == 1
    assert not is_known(world, execution)


def test_a_deleted_execution_is_forgotten_as_well(world, prune) -> None:
    """Its id is known until then, so that a deletion can be repeated."""
    execution = world.ended(S.FAILED)
    world.records.mark(execution.id, expected=S.FAILED, deleted_at=world.clock())
    assert prune() == 0

    world.clock.pass_by(DAY + 1)
    assert prune() == 1
    assert not is_known(world, execution)


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_what_has_results_is_remembered(world, prune, status: ExecutionStatus) -> None:
    """As long as it is neither expired nor deleted."""
    execution = world.ended(status)
    world.clock.pass_by(100 * DAY)

    assert prune() == 0
    assert is_known(world, execution)


def test_what_is_still_to_be_removed_is_remembered(world, prune) -> None:
    """A record goes after everything that it knows of."""
    execution = world.ended(S.COMPLETED)
    world.clock.pass_by(2 * DAY)
    world.expire()
    assert prune() == 0
    assert is_known(world, execution)

    world.remove()
    assert prune() == 1


@pytest.mark.parametrize("site", ["another disk", "00000001"])
def test_a_machine_that_is_gone_holds_nothing_up(world, prune, site: str) -> None:
    """What only its workers could remove is given up after a day; this machine's own waits for its workers."""
    world.ended(S.COMPLETED)
    world.clock.pass_by(3600)
    world.expire()
    replace(world.remove, site="another disk still")()  # the objects, which anybody can remove
    world.clock.pass_by(2 * DAY)
    here = replace(prune, site=site)

    assert here() == (1 if site == "another disk" else 0)
    assert (world.records.open_removals(site="00000001", limit=9) == []) is (site == "another disk")


def test_jobs_are_forgotten_an_hour_after_their_end(world, jobs, prune) -> None:
    """What waits stays."""
    for number in (1, 2):
        jobs.enqueue(Job(f"exec_1_00000001.{number}", "compute", "compute", "exec_1_00000001", number), None)
    jobs.withdraw(["exec_1_00000001.1"])
    assert prune() == 0

    world.clock.pass_by(timedelta(hours=1).total_seconds())
    assert prune() == 1
    assert [job.id for job in jobs.waiting] == ["exec_1_00000001.2"]
    assert set(jobs.states(["exec_1_00000001.1"]).values()) == {"gone"}


def test_it_goes_in_batches(world, jobs, prune, monkeypatch) -> None:
    """All of them in one call, some at a time."""
    monkeypatch.setattr(pruning, "BATCH", 2)
    for number in range(5):
        jobs.enqueue(Job(f"exec_1_00000001.{number}", "compute", "compute", "exec_1_00000001", number), None)
    jobs.withdraw([f"exec_1_00000001.{number}" for number in range(5)])
    for _ in range(3):
        execution = world.ended(S.FAILED)
        world.records.mark(execution.id, expected=S.FAILED, deleted_at=world.clock())
    world.clock.pass_by(DAY + 60)

    assert prune() == 8
    assert prune() == 0
