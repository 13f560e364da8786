"""Taking executions on."""

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server import workflow
from wildcast_server.domain.registry import Registry
from wildcast_server.errors import InvalidParametersError, QueueFullError, ServiceUnavailableError, UnknownWorkflowError
from wildcast_server.usecases.submit import Submit


@pytest.fixture
def submit(records, jobs, tmp_path):
    """The use case, with a disk that is never too full."""
    registry = Registry()

    @workflow
    def simulate(n: int = 1) -> None:
        """Count."""

    registry.add(simulate)
    return Submit(registry, records, jobs, tmp_path, 0)


def test_what_is_accepted_is_recorded_and_enqueued(submit, records, jobs):
    """The record has the validated parameters, defaults included."""
    execution, position = submit("simulate", {})
    assert (execution.status, position) == (Status.QUEUED, 0)
    assert records.get(execution.id).parameters == {"n": 1}
    assert jobs.taken == [execution.id]


def test_the_position_is_that_of_its_acceptance(submit, records, jobs):
    """A worker that takes it at once does not turn `queued` into a contradiction."""
    submit("simulate", {})
    jobs.enqueue = lambda name: records.change(name, expected=Status.QUEUED, to=Status.RUNNING)
    execution, position = submit("simulate", {})
    assert (execution.status, position) == (Status.QUEUED, 1)


def test_nothing_fails_between_the_record_and_the_engine(submit, records, jobs):
    """A database that is lost right after the commit leaves no execution that waits for nobody."""

    def lost(_id: str) -> None:
        raise ServiceUnavailableError("the connection is lost")

    records.get = records.queue_position = records.standings = lost
    execution, position = submit("simulate", {})
    assert (jobs.taken, position) == ([execution.id], 0)


@pytest.mark.parametrize(
    ("name", "parameters", "error"),
    [("missing", {}, UnknownWorkflowError), ("simulate", {"n": "many"}, InvalidParametersError)],
)
def test_what_is_refused_is_not_recorded(submit, records, jobs, name, parameters, error):
    """Neither records nor engine learn of it."""
    with pytest.raises(error):
        submit(name, parameters)
    assert (records.unfinished(), jobs.taken) == ([], [])


def test_too_little_disk_refuses(submit, records, tmp_path):
    """The sentence has both numbers."""
    full = Submit(submit.workflows, records, submit.jobs, tmp_path, 1 << 62)
    with pytest.raises(ServiceUnavailableError, match=str(1 << 62)):
        full("simulate", {})
    assert records.unfinished() == []


def test_a_full_queue_refuses(submit, records, jobs, tmp_path):
    """One more than may wait is neither recorded nor enqueued, and is told when to come again."""
    bounded = Submit(submit.workflows, records, jobs, tmp_path, 0, max_queued=1)
    execution, _ = bounded("simulate", {})
    with pytest.raises(QueueFullError, match="no more than 1") as caught:
        bounded("simulate", {})
    assert caught.value.retry_after > 0
    assert [found.id for found in records.unfinished()] == jobs.taken == [execution.id]


def test_a_disk_that_is_gone_refuses(submit, records, tmp_path):
    """An output directory that was removed or unmounted is a sentence, and no crash."""
    gone = Submit(submit.workflows, records, submit.jobs, tmp_path / "gone", 0)
    with pytest.raises(ServiceUnavailableError, match="output directory"):
        gone("simulate", {})
    assert records.unfinished() == []


def test_what_the_engine_does_not_take_never_runs(submit, records, jobs):
    """Who was told 503 submits again, so the first try must not run at the next start as well."""
    accepted = []
    original = records.insert
    records.insert = lambda execution, **options: accepted.append(execution.id) or original(execution, **options)
    jobs.stop(0)
    with pytest.raises(ServiceUnavailableError, match="stopping"):
        submit("simulate", {})
    assert records.unfinished() == []
    refused = records.get(accepted[0])
    assert refused.status is Status.FAILED
    assert "not accepted" in refused.error_message
