"""Cancelling, where something else happens at the same time."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import StatusConflictError
from wildcast_server.jobs import Job
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.usecases.cancel import Cancel
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.moving import TRIES, while_it_moves

ID = "exec_1_00000001"
HOOK = "https://example.org/hook"


@pytest.fixture
def jobs():
    """An engine that keeps jobs, and has nobody who does them."""
    return MemoryJobs()


@pytest.fixture
def cancel(records, jobs):
    """The use case, over object storage, with results that are kept for a minute."""
    return Cancel(Lookup(records), records, jobs, Ending("s3", "outputs", retention_seconds=60))


@pytest.fixture
def waiting(records):
    """An execution that waits, and tells a webhook of its end."""
    execution = Execution(id=ID, workflow_name="simulate", parameters={}, jobs=1, webhook=HOOK)
    return records.insert(execution).execution


def begin(records):
    return records.begin_attempt(
        ID, job=1, worker="w", site="here", reuse=False, elsewhere=False, started_at=utc_now(), provenance=None
    )


def test_the_end_has_all_that_belongs_to_one(cancel, records, waiting):
    """Times of end and expiry, and the delivery to the webhook; nothing to remove of what never ran."""
    cancelled = cancel("simulate", waiting.id)
    assert cancelled.status is Status.CANCELLED
    assert (cancelled.expires_at - cancelled.ended_at).total_seconds() == 60
    (delivery,) = records.due_deliveries(utc_now(), lease_seconds=60, limit=10)
    assert (delivery.event, delivery.url) == ("cancelled", HOOK)
    assert records.due_removals(utc_now(), site="here", lease_seconds=60, limit=10) == []


def test_what_a_worker_had_and_put_back_leaves_nothing_behind(cancel, records, waiting):
    """Its directory and what it has uploaded are noted for removal."""
    begin(records)
    records.change(waiting.id, expected=Status.RUNNING, to=Status.QUEUED)
    cancel("simulate", waiting.id)
    due = records.due_removals(utc_now(), site="here", lease_seconds=60, limit=10)
    assert {(each.storage_type, each.prefix) for each in due} == {("server", None), ("s3", f"outputs/{ID}")}


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING_RESULTS])
def test_what_nobody_works_on_now_is_cancelled_at_once(cancel, records, jobs, waiting, status):
    """As what waits behind another publication, or was given back by a dead worker; whoever takes it finds nothing."""
    begin(records)
    if status is Status.PENDING_RESULTS:
        records.change(ID, expected=Status.RUNNING, to=status)
    jobs.enqueue(Job(waiting.job_id, "publish", "publish.here", ID, 1), None)
    assert cancel("simulate", waiting.id).status is Status.CANCELLED
    assert jobs.waiting == []
    with pytest.raises(StatusConflictError):
        records.begin_try(ID, job=1, worker="late")
    due = records.due_removals(utc_now(), site="here", lease_seconds=60, limit=10)
    assert ("s3", f"outputs/{ID}") in {(each.storage_type, each.prefix) for each in due}


def test_a_worker_that_is_faster_is_asked_to_cancel(cancel, records, waiting):
    """Between looking and cancelling it has begun: then the request is noted for it."""
    original = records.change

    def late(name, **options):
        records.change = original
        begin(records)
        return original(name, **options)

    records.change = late
    cancelled = cancel("simulate", waiting.id)
    assert cancelled.status is Status.RUNNING
    assert cancelled.cancel_requested_at is not None


def test_an_end_that_is_faster_is_a_conflict(cancel, records, waiting):
    """What failed between looking and noting the request cannot be cancelled any more."""
    begin(records)
    original = records.mark

    def late(name, **options):
        records.change(ID, expected=Status.RUNNING, to=Status.FAILED, error_message="it did not converge")
        return original(name, **options)

    records.mark = late
    with pytest.raises(StatusConflictError, match="is failed"):
        cancel("simulate", waiting.id)


def test_cancelling_twice_at_once_is_one_end(cancel, records, waiting):
    """The second finds it cancelled, and tells nobody again."""
    original = records.change

    def late(name, **options):
        records.change = original
        cancel("simulate", waiting.id)
        return original(name, **options)

    records.change = late
    assert cancel("simulate", waiting.id).status is Status.CANCELLED
    assert len(records.deliveries(waiting.id)) == 1


def test_what_moves_all_the_time_ends_in_a_conflict(waiting):
    """And not in looking for ever."""
    looks = []

    def look():
        looks.append(waiting)
        return waiting.with_changes(attempt=len(looks))

    def act(execution):
        raise StatusConflictError(f"attempt {execution.attempt} is over")

    with pytest.raises(StatusConflictError, match="is over"):
        while_it_moves(look, act)
    assert len(looks) == TRIES + 1
