"""Recording many executions at once, with keys, labels and limits: by every implementation of the port alike."""

from collections.abc import Sequence

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.errors import (
    IdempotencyConflictError,
    QueueFullError,
    RecordError,
    ServiceUnavailableError,
    StatusConflictError,
    UnknownExecutionError,
)
from wildcast_server.records import Accepted, Limits, Records, Submission
from wildcast_server.settings import WorkflowLimits


def execution(number: int, workflow: str = "w", **fields: object) -> Execution:
    return Execution(id=f"exec_1_{number:08x}", workflow_name=workflow, parameters={}, jobs=1).with_changes(**fields)


def submissions(*numbers: int) -> list[Submission]:
    return [Submission(execution=execution(number)) for number in numbers]


def recorded(records: Records) -> list[str]:
    return [found.id for found in records.unfinished()]


def test_all_that_an_execution_is_submitted_with_comes_back(records: Records):
    """Labels, retention, webhook and the number of its job; the place in the order is new."""
    given = execution(1, labels={"run": "a b", "ü": ""}, retention_seconds=60, webhook="https://h/x", pinned=True)
    found = records.insert(given).execution
    assert found == given == records.get(given.id)
    assert found.sequence == records.get(given.id).sequence > 0
    assert "https" not in repr(found)


def test_a_batch_is_recorded_in_its_order(records: Records):
    """Each is told its own position."""
    outcomes = records.insert_all(submissions(3, 1, 2))
    assert [(outcome.execution.id, outcome.position, outcome.is_new) for outcome in outcomes] == [
        (execution(3).id, 0, True),
        (execution(1).id, 1, True),
        (execution(2).id, 2, True),
    ]
    assert recorded(records) == [execution(number).id for number in (3, 1, 2)]
    assert records.insert_all([]) == []


def test_one_that_is_refused_does_not_refuse_the_others(records: Records):
    """A doubled id and a full queue are outcomes of their own."""
    outcomes = records.insert_all(submissions(1, 1, 2, 3), limits=Limits(max_queued=2))
    assert [type(outcome) for outcome in outcomes] == [Accepted, RecordError, Accepted, QueueFullError]
    assert recorded(records) == [execution(1).id, execution(2).id]


def test_what_goes_with_it_is_done_once_for_all_that_are_recorded(records: Records):
    """With the executions as they are recorded, their places included; not at all for none."""
    seen: list[Sequence[Execution]] = []
    records.insert_all(submissions(1, 1, 2), within=lambda given, _connection: seen.append(given))
    records.insert_all(submissions(1), within=lambda given, _connection: seen.append(given))
    assert [[(found.id, found.sequence) for found in given] for given in seen] == [
        [(found.id, found.sequence) for found in records.unfinished()]
    ]


def test_what_fails_within_undoes_all_of_it(records: Records):
    """Executions, labels and keys: the same can be submitted again."""

    def fail(_given: Sequence[Execution], _connection: object) -> None:
        raise ServiceUnavailableError("away")

    given = [Submission(execution=execution(number, labels={"a": "b"}), key=f"k{number}") for number in (1, 2)]
    with pytest.raises(ServiceUnavailableError, match="away"):
        records.insert_all(given, within=fail)
    assert recorded(records) == []
    assert all(outcome.is_new for outcome in records.insert_all(given))


LIMITS = Limits(max_queued=4, per_workflow={"a": WorkflowLimits(max_queued=1), "b": WorkflowLimits(max_unfinished=2)})


def test_a_workflow_has_limits_of_its_own(records: Records):
    """What waits of one does not count for another; running counts as unfinished."""
    records.insert(execution(1, "a"), limits=LIMITS)
    records.insert(execution(2, "b"), limits=LIMITS)
    with pytest.raises(QueueFullError, match=r"'a' are waiting.*no more than 1 of them"):
        records.insert(execution(3, "a"), limits=LIMITS)
    records.change(execution(1).id, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(execution(2).id, expected=Status.QUEUED, to=Status.RUNNING)
    records.insert(execution(4, "a"), limits=LIMITS)
    records.insert(execution(5, "b"), limits=LIMITS)
    with pytest.raises(QueueFullError, match=r"2 executions of 'b' have not ended"):
        records.insert(execution(6, "b"), limits=LIMITS)
    records.change(execution(2).id, expected=Status.RUNNING, to=Status.FAILED)
    records.insert(execution(6, "b"), limits=LIMITS)


def test_limits_of_a_workflow_hold_within_a_batch(records: Records):
    """What the batch itself has recorded counts."""
    given = [Submission(execution=execution(number, name)) for number, name in enumerate("aabbbc")]
    refused = [isinstance(outcome, QueueFullError) for outcome in records.insert_all(given, limits=LIMITS)]
    assert refused == [False, True, False, False, True, False]


def test_the_same_key_gives_the_same_execution(records: Records):
    """As it stands by now, and with its place in the queue."""
    records.insert(execution(0))
    first = records.insert(execution(1), key="k", fingerprint="f")
    again = records.insert(execution(2), key="k", fingerprint="f")
    assert again == Accepted(first.execution, 1, is_new=False)
    records.change(first.execution.id, expected=Status.QUEUED, to=Status.RUNNING)
    later = records.insert(execution(3), key="k", fingerprint="f")
    assert (later.execution.status, later.position, later.is_new) == (Status.RUNNING, None, False)
    assert recorded(records) == [execution(0).id, execution(1).id]


def test_the_same_key_with_another_request_is_refused(records: Records):
    """Nothing is recorded, and the sentence does not repeat the key."""
    records.insert(execution(1), key="canary-key", fingerprint="f")
    with pytest.raises(IdempotencyConflictError, match="idempotency key") as caught:
        records.insert(execution(2), key="canary-key", fingerprint="g")
    assert "canary" not in str(caught.value)
    assert recorded(records) == [execution(1).id]


def test_keys_belong_to_their_owners(records: Records):
    """Two who choose the same one do not meet."""
    outcomes = [records.insert(execution(n, owner=owner), key="k") for n, owner in enumerate(("ann", "bob", "ann"))]
    assert [outcome.is_new for outcome in outcomes] == [True, True, False]


def test_the_same_key_twice_in_a_batch_is_one_execution(records: Records):
    """They came at the same time, and so in one transaction."""
    outcomes = records.insert_all(
        [
            Submission(execution=execution(1), key="k", fingerprint="f"),
            Submission(execution=execution(2), key="k", fingerprint="f"),
            Submission(execution=execution(3), key="k", fingerprint="g"),
        ]
    )
    assert [outcome.execution.id for outcome in outcomes[:2]] == [execution(1).id] * 2
    assert isinstance(outcomes[2], IdempotencyConflictError)


def test_what_has_ended_comes_back_within_the_limits_alone(records: Records):
    """A change that makes it unfinished again counts what there is in its own transaction."""
    for number in (1, 2):
        records.insert(execution(number))
    failed = execution(1).id
    records.change(failed, expected=Status.QUEUED, to=Status.RUNNING)
    records.change(failed, expected=Status.RUNNING, to=Status.FAILED)
    with pytest.raises(QueueFullError):
        records.change(failed, expected=Status.FAILED, to=Status.QUEUED, limits=Limits(max_queued=1))
    assert records.get(failed).status is Status.FAILED
    records.change(failed, expected=Status.FAILED, to=Status.QUEUED, limits=Limits(max_queued=2))
    assert len(records.unfinished()) == 2


def test_a_mark_may_ask_for_the_current_job(records: Records):
    """Of two who have looked at the same job, one changes something."""
    records.insert(execution(1))
    records.mark(execution(1).id, expected=Status.QUEUED, job=1, new_job=True)
    with pytest.raises(StatusConflictError):
        records.mark(execution(1).id, expected=Status.QUEUED, job=1, new_job=True)
    assert records.get(execution(1).id).jobs == 2


def test_a_key_that_was_used_counts_for_no_limit(records: Records):
    """A full queue does not refuse what is in it already, and nothing is enqueued again."""
    records.insert(execution(1), key="k")
    enqueued: list[str] = []
    again = records.insert(
        execution(2),
        key="k",
        limits=Limits(max_queued=1),
        within=lambda given, _connection: enqueued.append(given.id),
    )
    assert (again.execution.id, enqueued) == (execution(1).id, [])


def test_a_deleted_execution_frees_its_key(records: Records):
    """The next request with it is a new one."""
    records.insert(execution(1), key="k", fingerprint="f")
    records.change(execution(1).id, expected=Status.QUEUED, to=Status.CANCELLED)
    records.mark(execution(1).id, expected=Status.CANCELLED, deleted_at=utc_now())
    assert records.insert(execution(2), key="k", fingerprint="g").is_new
    with pytest.raises(UnknownExecutionError):
        records.get(execution(1).id)
