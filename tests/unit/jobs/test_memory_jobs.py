"""Jobs in memory, for tests: the same ports, without anything that survives."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from wildcast_server.errors import RecordError, ServiceUnavailableError
from wildcast_server.jobs import Job, JobState, MemoryJobs


def job_of(name: str, order: int = 1, queue: str = "compute") -> Job:
    return Job(f"{name}.1", "compute", queue, name, order)


@pytest.fixture
def jobs():
    """Jobs that are closed at the end."""
    made = MemoryJobs()
    yield made
    made.close()


def doing(done, work=lambda _execution_id: None):
    """Handlers that note what they are given."""

    async def handler(job_id, execution_id, steps):
        done.append(await steps.once("do", lambda: (work(execution_id), job_id)[1]))

    return {"compute": handler}


def test_jobs_are_done_in_their_order(jobs, eventually):
    """Whatever was enqueued first: the order is the job's own, and in one order the time decides."""
    done = []
    for name, order in (("c", 3), ("a", 1), ("b", 1)):
        jobs.enqueue(job_of(name, order), None)
    assert [job.execution_id for job in jobs.waiting] == ["a", "b", "c"]
    jobs.start(doing(done))
    eventually(lambda: done == ["a.1", "b.1", "c.1"])
    assert jobs.states(["a.1", "x.1"]) == {"a.1": JobState.DONE, "x.1": JobState.GONE}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_handler_that_raises_ends_nothing(jobs, caplog, error, eventually):
    """The exception is logged with the job's id, and the next job is done."""
    done = []

    def work(execution_id):
        if execution_id == "bad":
            raise error

    jobs.enqueue(job_of("bad", 1), None)
    jobs.enqueue(job_of("good", 2), None)
    jobs.start(doing(done, work))
    eventually(lambda: done == ["good.1"])
    assert "bad.1: its handler failed" in caplog.text


def test_queues_do_not_wait_for_each_other(jobs, eventually):
    """While one job of the first is going on, another one of the second is done, and nothing of a third."""
    go, done = threading.Event(), []
    jobs.enqueue(job_of("slow"), None)
    jobs.enqueue(job_of("quick", queue="publish"), None)
    jobs.enqueue(job_of("elsewhere", queue="publish.other"), None)
    jobs.start(doing(done, lambda name: name == "slow" and go.wait(20)))
    eventually(lambda: done == ["quick.1"])
    eventually(lambda: jobs.active() == ["slow.1"] == jobs.held_by("memory"))
    go.set()
    eventually(lambda: done == ["quick.1", "slow.1"])
    assert jobs.states(["elsewhere.1"]) == {"elsewhere.1": JobState.WAITING}


def test_a_job_is_enqueued_once(jobs):
    """A second one of its id is refused, also when the first is done."""
    jobs.enqueue(job_of("a"), None)
    with pytest.raises(RecordError, match="already"):
        jobs.enqueue(job_of("a"), None)
    jobs.withdraw(["a.1"])
    assert jobs.waiting == []
    with pytest.raises(RecordError, match="already"):
        jobs.enqueue(job_of("a"), None)


def test_what_is_done_can_be_forgotten(jobs):
    """What waits is not, and what ended is known by when it did."""
    jobs.enqueue(job_of("a"), None)
    jobs.enqueue(job_of("b"), None)
    jobs.withdraw(["a.1"])
    now = datetime.now(UTC)
    assert jobs.ended(now - timedelta(minutes=1), limit=10) == []
    assert jobs.ended(now + timedelta(minutes=1), limit=10) == ["a.1"]
    jobs.forget(["a.1", "b.1"])
    assert jobs.states(["a.1", "b.1"]) == {"a.1": JobState.GONE, "b.1": JobState.WAITING}


def test_a_paused_engine_takes_nothing_new(jobs):
    """What waits stays so, and only a closed one takes nothing more to keep."""
    jobs.pause()
    jobs.start(doing([]))
    jobs.enqueue(job_of("a"), None)
    assert jobs.states(["a.1"]) == {"a.1": JobState.WAITING}
    jobs.check()
    jobs.close()
    for call in (jobs.check, lambda: jobs.enqueue(job_of("b"), None)):
        with pytest.raises(ServiceUnavailableError, match="closed"):
            call()


def test_an_engine_starts_once(jobs):
    """A second start would work on everything twice."""
    jobs.start(doing([]))
    with pytest.raises(RuntimeError, match="once"):
        jobs.start(doing([]))
