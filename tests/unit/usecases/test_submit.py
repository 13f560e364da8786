"""Taking executions on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import workflow
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import (
    ForbiddenAddressError,
    IdempotencyConflictError,
    InvalidParametersError,
    QueueFullError,
    ServiceUnavailableError,
    UnknownWorkflowError,
)
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.records import Limits
from wildcast_server.settings import WorkflowLimits
from wildcast_server.usecases.room import Room
from wildcast_server.usecases.submit import MAX_TOGETHER, Request, Submit

SIMULATE = Request(workflow_name="simulate")
HOOK = "https://example.org/hook?token=canary"


@pytest.fixture
def jobs():
    """An engine that keeps jobs, and has nobody who does them."""
    return MemoryJobs()


@pytest.fixture
def submit(records, jobs, tmp_path):
    """The use case, with a disk that is never too full."""
    registry = Registry()

    @workflow
    def simulate(n: int = 1) -> None:
        """Count."""

    @workflow
    def train(n: int = 1) -> None:
        """Count, too."""

    registry.add(simulate)
    registry.add(train)
    return Submit(registry, records, jobs, Room(tmp_path, 0), check_webhook=lambda _url: None)


def taken(jobs):
    return [job.execution_id for job in jobs.waiting]


def test_what_is_accepted_is_recorded_and_enqueued(submit, records, jobs):
    """The record has the validated parameters, defaults included, and the number of its job."""
    execution, position, is_new = submit(SIMULATE)
    assert (execution.status, position, is_new) == (Status.QUEUED, 0, True)
    assert records.get(execution.id).parameters == {"n": 1}
    (job,) = jobs.waiting
    assert job == (execution.job_id, "compute", "compute", execution.id, execution.sequence)
    assert job.id == f"{execution.id}.1"


def test_what_else_a_request_says_is_recorded(submit, records):
    """Labels, retention and webhook."""
    request = replace(SIMULATE, labels={"project": "storms"}, retention_seconds=60, webhook=HOOK)
    found = records.get(submit(request).execution.id)
    assert (found.labels, found.retention_seconds, found.webhook) == ({"project": "storms"}, 60, HOOK)


def test_the_position_is_that_of_its_acceptance(submit):
    """It counts those that wait."""
    assert [submit(SIMULATE).position for _ in range(3)] == [0, 1, 2]


def test_nothing_fails_between_the_record_and_the_engine(submit, records, jobs):
    """A database that is lost right after the commit leaves no execution that waits for nobody."""

    def lost(_id: str) -> None:
        raise ServiceUnavailableError("the connection is lost")

    records.get = records.queue_position = records.standings = lost
    execution, position, _ = submit(SIMULATE)
    assert (taken(jobs), position) == ([execution.id], 0)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Request(workflow_name="missing"), UnknownWorkflowError),
        (Request(workflow_name="simulate", parameters={"n": "many"}), InvalidParametersError),
    ],
)
def test_what_is_refused_is_not_recorded(submit, records, jobs, request_, error):
    """Neither records nor engine learn of it."""
    with pytest.raises(error):
        submit(request_)
    assert (records.unfinished(), taken(jobs)) == ([], [])


def test_too_little_disk_refuses(submit, records):
    """The sentence has both numbers."""
    full = replace(submit, room=Room(submit.room.output_root, 1 << 62))
    with pytest.raises(ServiceUnavailableError, match=str(1 << 62)):
        full(SIMULATE)
    assert records.unfinished() == []


def test_a_disk_that_is_gone_refuses(submit, records, tmp_path):
    """An output directory that was removed or unmounted is a sentence, and no crash."""
    gone = replace(submit, room=Room(tmp_path / "gone", 0))
    with pytest.raises(ServiceUnavailableError, match="output directory"):
        gone(SIMULATE)
    assert records.unfinished() == []


def test_a_full_queue_refuses(submit, records, jobs):
    """One more than may wait is neither recorded nor enqueued, and is told when to come again."""
    bounded = replace(submit, limits=Limits(max_queued=1))
    execution = bounded(SIMULATE).execution
    with pytest.raises(QueueFullError, match="no more than 1") as caught:
        bounded(SIMULATE)
    assert caught.value.retry_after > 0
    assert [found.id for found in records.unfinished()] == taken(jobs) == [execution.id]


def test_a_full_workflow_refuses_its_own_alone(submit):
    """Another one is still taken on."""
    bounded = replace(submit, limits=Limits(per_workflow={"simulate": WorkflowLimits(max_queued=1)}))
    bounded(SIMULATE)
    with pytest.raises(QueueFullError, match="simulate"):
        bounded(SIMULATE)
    assert bounded(Request(workflow_name="train")).is_new


def test_in_a_batch_each_has_its_own_outcome(submit, jobs):
    """What is one too many is refused, and those before it are not."""
    bounded = replace(submit, limits=Limits(max_queued=2))
    outcomes = bounded.record([bounded.prepare(SIMULATE) for _ in range(3)])
    assert [getattr(each, "position", type(each)) for each in outcomes] == [0, 1, QueueFullError]
    assert taken(jobs) == [outcomes[0].execution.id, outcomes[1].execution.id]


def test_a_long_batch_is_recorded_in_parts(submit, records):
    """Where a later part fails, those before it are accepted all the same, and say so."""
    calls = []
    original = records.insert_all

    def failing_second(submissions, **options):
        calls.append(len(submissions))
        if len(calls) == 2:
            raise ServiceUnavailableError("the database is away")
        return original(submissions, **options)

    records.insert_all = failing_second
    outcomes = submit.record([submit.prepare(SIMULATE) for _ in range(MAX_TOGETHER + 2)])
    assert calls == [MAX_TOGETHER, 2]
    assert [isinstance(each, Exception) for each in outcomes] == [False] * MAX_TOGETHER + [True] * 2
    assert len(records.unfinished()) == MAX_TOGETHER


def test_what_the_engine_does_not_take_is_not_recorded(submit, records, jobs):
    """Who was told 503 submits again, so the first try must not run later as well."""
    jobs.close()
    with pytest.raises(ServiceUnavailableError, match="no more work"):
        submit(SIMULATE)
    assert records.unfinished() == []


def test_a_key_names_one_execution(submit, jobs):
    """The same request again is the same execution, as it is by then; another owner of the key there is none here."""
    request = replace(SIMULATE, parameters={"n": 2}, key="k")
    first, again = submit(request), submit(request)
    assert (first.is_new, again.is_new) == (True, False)
    assert first.execution.id == again.execution.id
    assert taken(jobs) == [first.execution.id]
    assert submit(replace(request, key="other")).is_new


@pytest.mark.parametrize(
    "change",
    [
        {"workflow_name": "train"},
        {"parameters": {"n": 3}},
        {"labels": {"a": "b"}},
        {"retention_seconds": 60},
        {"webhook": HOOK},
    ],
)
def test_a_key_that_was_used_for_another_request_is_refused(submit, jobs, change):
    """Whatever is different: to answer with the first execution would be wrong."""
    submit(replace(SIMULATE, key="k"))
    with pytest.raises(IdempotencyConflictError):
        submit(replace(SIMULATE, key="k", **change))
    assert len(taken(jobs)) == 1


def test_a_request_is_compared_as_it_was_sent():
    """A default of the workflow that changes makes no other request of it; the order of members makes none either."""
    one = replace(SIMULATE, parameters={"n": 1}, labels={"a": "1", "b": "2"})
    assert one.fingerprint() == replace(one, labels={"b": "2", "a": "1"}).fingerprint()
    assert one.fingerprint() != replace(one, parameters={}).fingerprint()


def test_a_repeated_request_is_answered_although_the_queue_is_full(submit):
    """It asks for nothing new."""
    bounded = replace(submit, limits=Limits(max_queued=1))
    request = replace(SIMULATE, key="k")
    assert bounded(request).execution.id == bounded(request).execution.id


def test_many_with_one_key_are_one_execution(submit, jobs):
    """However close together they come, exactly one is the first."""
    request = replace(SIMULATE, key="k")
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(submit, [request] * 16))
    assert len({each.execution.id for each in outcomes}) == 1
    assert sum(each.is_new for each in outcomes) == len(taken(jobs)) == 1


def test_the_same_key_twice_in_one_batch(submit):
    """The second is answered with the first, which is recorded with it."""
    request = replace(SIMULATE, key="k")
    first, second = submit.record([submit.prepare(request), submit.prepare(request)])
    assert (first.execution.id, first.is_new, second.is_new) == (second.execution.id, True, False)


def test_a_webhook_that_is_never_called_is_refused(submit, records):
    """Before anything is recorded."""

    def refuse(url):
        raise ForbiddenAddressError(f"{len(url)} characters lead nowhere")

    with pytest.raises(ForbiddenAddressError, match=r"the webhook is refused: .* lead nowhere"):
        replace(submit, check_webhook=refuse)(replace(SIMULATE, webhook=HOOK))
    assert records.unfinished() == []


def test_without_more_no_webhook_is_taken(submit):
    """A server that cannot sign says which setting is missing, and not what the URL was."""
    plain = Submit(submit.workflows, submit.records, submit.jobs, submit.room)
    with pytest.raises(ForbiddenAddressError, match=r"webhooks\.secret") as caught:
        plain(replace(SIMULATE, webhook=HOOK))
    assert "canary" not in str(caught.value)


def test_no_log_and_no_repr_shows_the_webhook(submit, caplog):
    """Its query may be a secret."""
    request = replace(SIMULATE, webhook=HOOK, key="k")
    with caplog.at_level("DEBUG"):
        accepted = submit(request)
        submit(request)
    assert "canary" not in f"{caplog.text}{request!r}{accepted!r}"
