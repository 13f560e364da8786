"""Results expire when their time has come, in whichever way their executions ended."""

from datetime import timedelta

import pytest

from wildcast.contract.status import ExecutionStatus
from wildcast_server.usecases.expiry import BATCH

S = ExecutionStatus
HOUR = 3600


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELLED])
@pytest.mark.parametrize("storage_type", ["s3", "server"])
def test_every_end_expires(make_world, status: ExecutionStatus, storage_type: str) -> None:
    """One second before its time nothing has happened; then it is expired, and local and remote objects go."""
    world = make_world(retention_seconds=HOUR, storage_type=storage_type)
    execution = world.ended(status)
    world.clock.pass_by(HOUR - 1)
    assert world.expire() == 0
    assert world.records.get(execution.id).status is status

    world.clock.pass_by(1)
    assert world.expire() == 1
    world.remove()

    assert world.records.get(execution.id).status is S.EXPIRED
    assert world.objects() == []
    assert world.left() == []
    assert world.expire() == 0


def test_a_request_says_how_long_its_results_are_kept(world) -> None:
    """Longer or shorter than the server's default."""
    short = world.ended(S.COMPLETED, retention_seconds=60)
    usual = world.ended(S.COMPLETED)
    long = world.ended(S.COMPLETED, retention_seconds=2 * HOUR)

    gone = []
    for seconds in (60, HOUR - 60, HOUR):
        world.clock.pass_by(seconds)
        assert world.expire() == 1
        gone.append({each.id for each in (short, usual, long) if world.records.get(each.id).status is S.EXPIRED})

    assert gone == [{short.id}, {short.id, usual.id}, {short.id, usual.id, long.id}]


def test_without_a_default_results_are_kept(make_world) -> None:
    """For ever, unless the request says otherwise."""
    world = make_world()
    kept = world.ended(S.COMPLETED)
    gone = world.ended(S.COMPLETED, retention_seconds=60)
    world.clock.pass_by(10 * 365 * 24 * HOUR)

    assert world.expire() == 1

    assert world.records.get(kept.id).status is S.COMPLETED
    assert world.records.get(gone.id).status is S.EXPIRED


def test_what_is_pinned_stays(world) -> None:
    """However old it is; unpinned, it goes at once."""
    execution = world.ended(S.COMPLETED)
    world.records.mark(execution.id, expected=S.COMPLETED, pinned=True)
    world.clock.pass_by(100 * HOUR)
    assert world.expire() == 0
    world.remove()
    assert len(world.objects()) == 4

    world.records.mark(execution.id, expected=S.COMPLETED, pinned=False)
    assert world.expire() == 1


@pytest.mark.parametrize("status", [S.QUEUED, S.RUNNING])
def test_what_has_not_ended_does_not_expire(world, status: ExecutionStatus) -> None:
    """The time is counted from the end."""
    execution = world.running(retention_seconds=1)
    if status is S.QUEUED:
        world.records.change(execution.id, expected=S.RUNNING, to=S.QUEUED)
    world.clock.pass_by(HOUR)

    assert world.expire() == 0


def test_what_is_deleted_does_not_expire_as_well(world) -> None:
    """Its removals are on their way already."""
    execution = world.ended(S.FAILED)
    world.records.mark(execution.id, expected=S.FAILED, deleted_at=world.clock())
    world.clock.pass_by(2 * HOUR)

    assert world.expire() == 0


def test_a_retry_begins_the_time_anew(world) -> None:
    """What is tried again has no end from which to count."""
    execution = world.ended(S.FAILED)
    world.records.change(
        execution.id, expected=S.FAILED, to=S.QUEUED, new_attempt=2, new_job=True, expires_at=None, ended_at=None
    )
    world.clock.pass_by(2 * HOUR)

    assert world.expire() == 0


def test_many_expire_in_batches(world) -> None:
    """More than one transaction's worth, each once."""
    for _ in range(BATCH + 1):
        running = world.records
        world.number += 1
        execution = _queued(world, world.number)
        changes, effects = world.ending(execution, S.CANCELLED)
        running.change(execution.id, expected=S.QUEUED, to=S.CANCELLED, effects=effects, **changes)
    world.clock.pass_by(HOUR)

    assert world.expire() == BATCH + 1
    assert world.expire() == 0


def test_the_time_is_recorded_at_the_end(world) -> None:
    """So that a client is told it."""
    execution = world.ended(S.COMPLETED)

    assert execution.expires_at == execution.ended_at + timedelta(seconds=HOUR)


def _queued(world, number: int):
    from wildcast_server.domain.execution import Execution

    execution = Execution(id=f"exec_1_{number:08x}", workflow_name="simulate", parameters={}, jobs=1)
    world.records.insert(execution)
    return execution
