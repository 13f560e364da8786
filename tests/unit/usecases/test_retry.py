"""Trying failed executions again, from the step that failed."""

from dataclasses import replace

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.errors import QueueFullError, ServiceUnavailableError, StatusConflictError
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.records import Limits
from wildcast_server.settings import WorkflowLimits
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.queues import COMPUTE, publish_queue
from wildcast_server.usecases.retry import Retry

ID = "exec_1_00000001"


@pytest.fixture
def jobs():
    """An engine that keeps jobs, and has nobody who does them."""
    return MemoryJobs()


@pytest.fixture
def retry(records, jobs):
    """The use case, over object storage."""
    return Retry(Lookup(records), records, jobs, Ending("s3", "outputs", retention_seconds=60))


@pytest.fixture
def fail(records):
    """Record an execution that failed in a step, on the disk `here`."""

    def make(step):
        records.insert(Execution(id=ID, workflow_name="simulate", parameters={}, jobs=1))
        records.begin_attempt(
            ID, job=1, worker="w", site="here", reuse=False, elsewhere=False, started_at=utc_now(), provenance=None
        )
        status, ended = Status.RUNNING, {"ended_at": utc_now(), "expires_at": utc_now(), "error_message": "no"}
        if step == "publish":
            status = records.change(ID, expected=status, to=Status.PENDING_RESULTS, tries=4).status
        return records.change(ID, expected=status, to=Status.FAILED, failed_step=step, **ended)

    return make


def work(records, name, queues, state=WorkerState.UP):
    records.register(
        WorkerRow(id=name, token=name, host="h", pid=1, instance="i", site="s", queues=queues, state=state)
    )


def removals(records):
    due = records.due_removals(utc_now(), site="here", lease_seconds=60, limit=10)
    return {(each.storage_type, each.name) for each in due}


def test_what_failed_computing_is_computed_again(retry, records, jobs, fail):
    """A new attempt, and nothing left of how the one before ended."""
    failed = fail("compute")
    retried = retry("simulate", ID)
    assert (retried.status, retried.attempt, retried.jobs) == (Status.QUEUED, failed.attempt + 1, 2)
    assert (retried.error_message, retried.ended_at, retried.expires_at, retried.failed_step) == (None,) * 4
    assert (retried.started_at, retried.worker, retried.site) == (None,) * 3
    assert [(job.id, job.queue, job.order) for job in jobs.waiting] == [(f"{ID}.2", COMPUTE, failed.sequence)]
    assert records.get(ID) == retried


@pytest.mark.parametrize("step", ["compute", "publish"])
def test_deaths_are_counted_anew(retry, records, fail, step):
    """As many attempts are left to it as to what is submitted now."""
    fail(step)
    records.change(ID, expected=Status.FAILED, to=Status.QUEUED, deaths=2)
    records.change(ID, expected=Status.QUEUED, to=Status.FAILED, failed_step=step)
    assert retry("simulate", ID).deaths == 0


def test_what_is_tried_again_waits_like_everything_else(retry, records, fail):
    """A full queue refuses it, and it stays failed; when there is a place it is taken."""
    fail("compute")
    other = records.insert(Execution(id="exec_1_00000002", workflow_name="simulate", parameters={}, jobs=1)).execution
    for limits in (Limits(max_queued=1), Limits(per_workflow={"simulate": WorkflowLimits(max_unfinished=1)})):
        with pytest.raises(QueueFullError, match="submit again"):
            replace(retry, limits=limits)("simulate", ID)
        assert records.get(ID).status is Status.FAILED
    records.change(other.id, expected=Status.QUEUED, to=Status.CANCELLED)
    assert replace(retry, limits=Limits(max_queued=1))("simulate", ID).status is Status.QUEUED


def test_it_is_computed_in_another_place(retry, records, fail):
    """What is left of the attempt before is removed, and nothing of the new one with it."""
    fail("compute")
    retried = retry("simulate", ID)
    gone = removals(records)
    assert gone == {("server", ID), ("s3", ID)}
    assert retried.name not in {name for _, name in gone}


def test_what_failed_publishing_is_published_again(retry, records, jobs, fail):
    """The same attempt, in the queue of the disk that has its output, with all its tries; nothing is removed."""
    failed = fail("publish")
    work(records, "a", (COMPUTE, publish_queue("here")))
    retried = retry("simulate", ID)
    assert (retried.status, retried.attempt, retried.tries) == (Status.PENDING_RESULTS, failed.attempt, 0)
    assert (retried.site, retried.started_at, retried.name) == ("here", failed.started_at, failed.name)
    assert [(job.id, job.kind, job.queue) for job in jobs.waiting] == [(f"{ID}.2", "publish", publish_queue("here"))]
    assert removals(records) == set()


@pytest.mark.parametrize(
    ("workers", "status"),
    [
        ([], Status.PENDING_RESULTS),
        ([("a", WorkerState.UP, publish_queue("there"))], Status.PENDING_RESULTS),
        ([("a", WorkerState.DRAINING, publish_queue("here")), ("b", WorkerState.UP, COMPUTE)], Status.PENDING_RESULTS),
        ([("a", WorkerState.UP, COMPUTE)], Status.QUEUED),
        ([("a", WorkerState.LOST, publish_queue("here")), ("b", WorkerState.UP, COMPUTE)], Status.QUEUED),
    ],
)
def test_it_is_computed_again_only_where_its_output_is_gone(retry, records, fail, workers, status):
    """The machine that has it is dead, and another one can compute; where all are away, it waits for them."""
    fail("publish")
    for name, state, queue in workers:
        work(records, name, (queue,), state)
    assert retry("simulate", ID).status is status


def test_retrying_twice_is_one_retry(retry, jobs, fail):
    """The second finds it queued."""
    fail("compute")
    assert retry("simulate", ID).attempt == retry("simulate", ID).attempt == 2
    assert len(jobs.waiting) == 1


def test_retrying_twice_at_once_is_one_retry(retry, records, jobs, fail):
    """Whoever is later looks again."""
    fail("compute")
    original = records.change

    def late(name, **options):
        records.change = original
        retry("simulate", ID)
        return original(name, **options)

    records.change = late
    assert retry("simulate", ID).attempt == 2
    assert len(jobs.waiting) == 1


def test_without_a_job_nothing_changes(retry, records, jobs, fail):
    """Record and job are one transaction: what the engine does not take stays failed."""
    failed = fail("compute")
    jobs.close()
    with pytest.raises(ServiceUnavailableError):
        retry("simulate", ID)
    assert records.get(ID) == failed


def test_a_cancellation_that_came_too_late_does_not_cancel_the_retry(retry, records, fail):
    """It was asked for while the attempt before ran."""
    records_change = fail("compute")
    assert records_change.cancel_requested_at is None
    records.mark(ID, expected=Status.FAILED, cancel=True)
    assert retry("simulate", ID).cancel_requested_at is None


def test_only_what_failed_is_retried(retry, records):
    """A cancelled execution says that it wants a new submission."""
    records.insert(Execution(id=ID, workflow_name="simulate", parameters={}))
    records.change(ID, expected=Status.QUEUED, to=Status.CANCELLED)
    with pytest.raises(StatusConflictError, match="submit the request anew"):
        retry("simulate", ID)
