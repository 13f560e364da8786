"""Executions through real workers on SQLite and on Postgres, which are killed wherever that may hurt."""

import json
import signal
import time

import pytest
from tests.integration.durable.conftest import is_alive, kill, until

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.failpoints import FAILPOINTS, JOB_FAILPOINTS
from wildcast_server.jobs import JobState

WITHOUT_PARTS = [name for name in FAILPOINTS if name != "upload.part"]
"""A store that is a directory takes no multipart uploads."""


def assert_whole(site, execution, files=1):
    """The record, the store, the engine and the disk agree, and nothing is left over."""
    assert (execution.status, execution.error_message) == (Status.COMPLETED, None)
    prefix = execution.published.publication.prefix.rpartition("/")[2]
    wanted = {f"{prefix}/{number}.txt" for number in range(files)} | {f"{prefix}/.wildcast/manifest.json.gz"}
    assert site.objects(execution.id) == wanted
    until(lambda: site.engine_is_done(execution.id), "the end of its jobs")
    output = site.settings.output_dir
    until(lambda: not set(output.rglob("*")) - {output / ".site", output / ".transfers"}, "a tidy output directory")


@pytest.mark.parametrize("failpoint", ["compute.ended", "publish.committed"])
def test_a_killed_worker_is_gone_on_with(site, failpoint):
    """Whichever step it dies in, another process goes on there: no finished computation starts again."""
    execution_id = site.submit("computes", files=3)
    assert site.start(failpoint).wait(60) == -signal.SIGKILL
    site.start()
    ended = site.ended(execution_id)
    assert_whole(site, ended, files=3)
    # Between its end and the note of it alone, a computation is begun again; then the attempts say so.
    assert len(site.starts(execution_id)) == ended.attempt == (2 if failpoint == "compute.ended" else 1)


@pytest.mark.long
@pytest.mark.parametrize("failpoint", [*JOB_FAILPOINTS, *WITHOUT_PARTS])
def test_a_worker_killed_at_any_place_is_gone_on_with(site, failpoint):
    """The same for every place that has a name."""
    execution_id = site.submit("computes", files=3)
    assert site.start(failpoint).wait(60) == -signal.SIGKILL
    site.start()
    ended = site.ended(execution_id)
    assert_whole(site, ended, files=3)
    assert len(site.starts(execution_id)) == ended.attempt


@pytest.mark.long_on_postgres
def test_a_worker_killed_in_the_middle_takes_its_workflow_along(site):
    """Nothing that it started lives on, not even what left the group; the next worker begins a second attempt."""
    execution_id = site.submit("stubborn", leave=True)
    worker = site.start()
    processes = site.started(execution_id)
    kill(worker)
    until(lambda: not any(map(is_alive, processes)), "the death of the workflow")
    site.go()
    site.start()
    ended = site.ended(execution_id)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 2)
    assert len(site.starts(execution_id)) == 2


@pytest.mark.long_on_postgres
def test_a_workflow_that_kills_its_worker_is_not_tried_for_ever(site_of):
    """After the attempts that the settings allow it has failed, and the next execution runs."""
    site = site_of(**{"workflows.max_attempts": 2})
    poison, next_one = site.submit("kills_the_worker"), site.submit("computes")
    for _ in range(2):
        assert site.start().wait(60) == -signal.SIGKILL
    site.start()
    ended = site.ended(poison)
    assert (ended.status, ended.attempt, len(site.starts(poison))) == (Status.FAILED, 2, 2)
    assert ended.error_message == "the service stopped 2 times while it ran this; it is not tried again"
    assert site.ended(next_one).status is Status.COMPLETED


@pytest.mark.long_on_postgres
def test_ends_of_all_kinds_in_one_worker(site):
    """A process that dies three times, a workflow that takes too long, and one that is cancelled, each with its reason.

    Within five seconds of the cancel nothing of it is left: no process, no object; its neighbours complete.
    """
    site.start()
    dead, late = site.submit("kills_itself"), site.submit("limited")
    stubborn, last = site.submit("stubborn", leave=True), site.submit("computes")
    died = site.ended(dead)
    assert (died.status, died.attempt, len(site.starts(dead))) == (Status.FAILED, 3, 3)
    assert "was killed by SIGKILL" in died.error_message
    assert site.ended(late).status is Status.FAILED
    assert site.ended(late).error_message == "the workflow took longer than 1 seconds, which is what it may take"
    processes = site.started(stubborn)
    until(lambda: site.objects(stubborn), "what it publishes live")
    began = time.monotonic()
    site.records.mark(stubborn, expected=Status.RUNNING, cancel=True)
    assert site.ended(stubborn).status is Status.CANCELLED
    assert not any(map(is_alive, processes))
    assert site.objects(stubborn) == set()
    assert time.monotonic() - began < 5
    assert site.ended(last).status is Status.COMPLETED


@pytest.mark.long_on_postgres
def test_a_stop_in_order_is_no_attempt(site_of):
    """The worker ends well, what it ran waits, and another worker takes that within a second, in its attempt."""
    site = site_of(**{"workers.drain_seconds": 0})
    execution_id = site.submit("stubborn")
    worker = site.start()
    site.started(execution_id)
    other = site.start()
    until(lambda: site.log.count(" works on ") == 2, "the other worker")
    worker.terminate()
    assert worker.wait(30) == 0
    site.started(execution_id, 2)
    site.go()
    ended = site.ended(execution_id)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 1)
    other.terminate()
    assert other.wait(30) == 0
    assert [row.id for row in site.records.workers()] == []


@pytest.mark.long_on_postgres
def test_jobs_are_taken_in_the_order_of_submission(site):
    """Also those of one moment, which a clock with whole seconds cannot tell apart."""
    ids = [site.submit("computes") for _ in range(5)]
    site.start()
    for execution_id in ids:
        site.ended(execution_id)
    begun = [site.records.get(execution_id).started_at for execution_id in ids]
    assert begun == sorted(begun)


@pytest.mark.long_on_postgres
def test_publishing_holds_no_slot_of_computing(site):
    """While one publication is going on for long, the next execution computes."""
    waiting = site.submit("computes")
    site.start(None, "compute")
    computed = site.submit("computes")
    until(lambda: site.records.get(computed).status is Status.PENDING_RESULTS)
    assert site.records.get(waiting).status is Status.PENDING_RESULTS
    site.start(None, "publish")
    assert site.ended(computed).status is site.ended(waiting).status is Status.COMPLETED


@pytest.mark.long_on_postgres
def test_a_worker_that_is_stopped_leaves_nothing_to_a_crash(site):
    """The machine may be about to start anew: what waits to be published is on the disk itself by then."""
    execution_id = site.submit("computes")
    worker = site.start(None, "compute")
    until(lambda: site.records.get(execution_id).status is Status.PENDING_RESULTS)
    mark = site.settings.output_dir / f".{execution_id}.computed"
    assert json.loads(mark.read_text())["boot"]
    worker.terminate()
    assert worker.wait(30) == 0
    assert json.loads(mark.read_text())["boot"] is None


def test_record_and_job_are_there_together_or_not_at_all(site):
    """Whatever fails in the transaction that records an execution takes its job along."""
    from wildcast.contract.naming import new_execution_id
    from wildcast_server.domain.execution import Execution
    from wildcast_server.errors import UnknownExecutionError
    from wildcast_server.usecases.queues import compute_job

    execution = Execution(id=new_execution_id(), jobs=1, workflow_name="computes", parameters={})

    def enqueue_and_fail(now, connection):
        site.jobs.enqueue(compute_job(now), connection)
        raise KeyError("in between")

    with pytest.raises(KeyError):
        site.records.insert(execution, within=enqueue_and_fail)
    assert site.jobs.states([execution.job_id]) == {execution.job_id: JobState.GONE}
    with pytest.raises(UnknownExecutionError):
        site.records.get(execution.id)


@pytest.mark.long_on_postgres
def test_the_workers_log_is_json_where_that_is_asked_for(site_of):
    """Also what the engine of the jobs says, and it says nothing of what is meant to happen."""
    import json

    site = site_of(**{"log.format": "json"})
    execution_id = site.submit("stubborn")
    worker = site.start()
    site.started(execution_id)
    site.jobs.withdraw([site.records.get(execution_id).job_id])
    until(lambda: not any(map(is_alive, site.starts(execution_id)[0])), "the end of the workflow")
    worker.terminate()
    worker.wait(30)
    lines = [json.loads(line) for line in site.log.splitlines()]
    assert lines
    assert not [line for line in lines if line["logger"].startswith("dbos")]
