"""Records and jobs that do not agree, and machines that do not come back."""

from datetime import UTC, datetime

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import Execution, utc_now
from wildcast_server.domain.worker import WorkerRow
from wildcast_server.errors import StatusConflictError
from wildcast_server.jobs.base import Job
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases.ending import Ending
from wildcast_server.usecases.queues import compute_job, publish_job
from wildcast_server.usecases.reconcile import MAX_JOBS, DeadSites, Reconcile
from wildcast_server.usecases.workers import Heartbeats

HERE, THERE = "0a0a0a0a", "0b0b0b0b"


@pytest.fixture
def records():
    """Records in memory."""
    return MemoryRecords()


@pytest.fixture
def jobs():
    """Jobs in memory, which nobody works on."""
    return MemoryJobs()


@pytest.fixture
def reconcile(records, jobs):
    """The use case."""
    return Reconcile(records, jobs, Ending("s3"))


@pytest.fixture
def accepted(records):
    """Record executions without their jobs; a test says how far one has come."""

    def accept(name: str, status: Status = Status.QUEUED, *, attempt: int = 1, jobs: int = 1, **fields) -> Execution:
        records.insert(Execution(id=name, workflow_name="w", parameters={}, jobs=jobs, **fields))
        if status is Status.QUEUED:
            return records.get(name)
        for again in range(attempt):
            job = records.get(name).jobs
            records.begin_attempt(
                name, job=job, worker="dead-1", site=HERE, reuse=False, elsewhere=again > 0, started_at=utc_now()
            )
        if status is Status.PENDING_RESULTS:
            records.change(name, expected=Status.RUNNING, to=status, new_job=True)
        return records.get(name)

    return accept


def waiting(jobs: MemoryJobs) -> list[tuple[str, str]]:
    return [(job.id, job.queue) for job in jobs.waiting]


@pytest.mark.parametrize(
    ("status", "job", "now"),
    [
        (Status.QUEUED, ("exec_1.2", "compute"), Status.QUEUED),
        (Status.RUNNING, ("exec_1.2", "compute"), Status.RUNNING),
        (Status.PENDING_RESULTS, ("exec_1.3", f"publish.{HERE}"), Status.PENDING_RESULTS),
    ],
)
def test_what_has_no_job_is_given_one(records, jobs, reconcile, accepted, status, job, now):
    """As after a backup of the records alone was restored; the next look finds everything in order."""
    accepted("exec_1", status)
    reconcile()
    reconcile()
    assert waiting(jobs) == [job]
    assert records.get("exec_1").status is now
    assert records.get("exec_1").job_id == job[0]


def test_what_a_version_without_jobs_accepted_is_given_one(records, jobs, reconcile, accepted):
    """Nothing is lost in an upgrade."""
    accepted("exec_1", jobs=0)
    reconcile()
    assert waiting(jobs) == [("exec_1.1", "compute")]
    assert records.get("exec_1").attempt == 1


def test_what_has_a_job_is_left_alone(records, jobs, reconcile, accepted):
    """Whether it waits or is worked on; ended ones are not looked at."""
    one, two = accepted("exec_1"), accepted("exec_2", Status.PENDING_RESULTS)
    jobs.enqueue(compute_job(one), None)
    jobs.enqueue(publish_job(two), None)
    accepted("exec_3")
    records.change("exec_3", expected=Status.QUEUED, to=Status.CANCELLED)
    reconcile()
    assert waiting(jobs) == [("exec_1.1", "compute"), ("exec_2.2", f"publish.{HERE}")]
    assert records.get("exec_1").version == one.version


def test_an_attempt_that_the_engine_gave_up_is_decided_on_by_its_next_job(records, jobs, reconcile, accepted):
    """It may have computed already; so it stays in its attempt, however many there were."""
    accepted("exec_1", Status.RUNNING, attempt=3)
    reconcile()
    assert (records.get("exec_1").status, records.get("exec_1").attempt) == (Status.RUNNING, 3)
    assert waiting(jobs) == [("exec_1.2", "compute")]


def test_what_is_to_be_cancelled_is(records, jobs, reconcile, accepted):
    """Its worker died before it could see to that."""
    for status in (Status.RUNNING, Status.PENDING_RESULTS):
        accepted(f"exec_{status}", status)
        records.mark(f"exec_{status}", expected=status, cancel=True)
    reconcile()
    assert {records.get(f"exec_{status}").status for status in (Status.RUNNING, Status.PENDING_RESULTS)} == {
        Status.CANCELLED
    }
    assert waiting(jobs) == []


def test_jobs_that_come_to_nothing_end_somewhen(records, reconcile, accepted):
    """An execution at which the engine fails again and again is at fault itself."""
    accepted("exec_1", jobs=MAX_JOBS)
    reconcile()
    assert records.get("exec_1").error_message == "the job engine gave it up; it is not tried again"


class MovingRecords(MemoryRecords):
    """Records in which an execution moves on right after it was listed."""

    def unfinished(self, *among: Status) -> list[Execution]:
        found = super().unfinished(*among)
        for execution in found:
            self.set_progress(execution.id, execution.attempt, {"progress": "moved"})
        return found


def test_what_has_just_moved_is_left_alone(jobs):
    """Its job was done in between, and has changed the record first."""
    records = MovingRecords()
    records.insert(Execution(id="exec_1", workflow_name="w", parameters={}, jobs=1))
    records.begin_attempt(
        "exec_1", job=1, worker="w", site=HERE, reuse=False, elsewhere=False, started_at=datetime.now(UTC)
    )
    Reconcile(records, jobs, Ending("s3"))()
    assert records.get("exec_1").status is Status.RUNNING
    assert waiting(jobs) == []


class Clock:
    """Seconds, as the test moves them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def register(records):
    """Record a worker that lives."""

    def add(worker_id: str, site: str, *queues: str) -> None:
        records.register(
            WorkerRow(
                id=worker_id,
                token="t",
                host="h",
                pid=1,
                instance="i",
                site=site,
                queues=queues or ("compute", f"publish.{site}"),
            )
        )

    return add


@pytest.fixture
def computed(jobs, accepted):
    """An execution whose output is on the disk `HERE` and waits to be published."""
    execution = accepted("exec_1", Status.PENDING_RESULTS)
    jobs.enqueue(publish_job(execution), None)
    return execution


@pytest.fixture
def clock():
    """Time."""
    return Clock()


@pytest.fixture
def heartbeats(records):
    """Those of a worker without queues, which judges; they have been steady for a while."""
    now = [0.0]
    row = WorkerRow(id="judge", token="j", host="h", pid=1, instance="i", site="cccccccc", queues=())
    beats = Heartbeats(records, row, dead_after_seconds=15, on_lost=lambda: None, clock=lambda: now[0])
    beats.begin()
    for now[0] in (10.0, 20.0):
        beats()
    assert beats.are_steady
    return beats


@pytest.fixture
def look(records, jobs, heartbeats, clock):
    """The use case."""
    return DeadSites(records, jobs, heartbeats, Ending("s3"), 3, absent_seconds=600, clock=clock)


@pytest.mark.usefixtures("computed")
def test_what_only_a_dead_machine_could_publish_is_computed_elsewhere(records, jobs, register, look):
    """As another attempt; its job for the dead machine is taken back."""
    register("here", HERE)
    register("there", THERE)
    look()
    assert records.get("exec_1").status is Status.PENDING_RESULTS
    records.declare_lost("here", -1)
    look()
    execution = records.get("exec_1")
    assert (execution.status, execution.attempt) == (Status.QUEUED, 2)
    assert waiting(jobs) == [("exec_1.3", "compute")]


@pytest.mark.usefixtures("computed")
def test_a_machine_that_was_stopped_in_order_is_waited_for(records, register, look, clock):
    """A restart takes a while, and computing takes longer."""
    register("there", THERE)
    look()
    clock.now = 599
    look()
    register("here", HERE)
    look()
    records.leave("here", "t")
    clock.now = 1198
    look()
    clock.now = 1797
    look()
    assert records.get("exec_1").status is Status.PENDING_RESULTS
    clock.now = 1798
    look()
    assert records.get("exec_1").status is Status.QUEUED


@pytest.mark.usefixtures("computed")
def test_nothing_is_given_up_that_nobody_else_could_compute(records, register, look):
    """Where no other machine computes, it waits for its own."""
    register("here", HERE)
    register("there", THERE, f"publish.{THERE}")
    records.declare_lost("here", -1)
    look()
    assert records.get("exec_1").status is Status.PENDING_RESULTS


@pytest.mark.usefixtures("computed")
def test_another_worker_of_the_same_disk_is_enough(records, register, look):
    """It publishes what the dead one has left."""
    register("here-1", HERE)
    register("here-2", HERE)
    register("there", THERE)
    records.declare_lost("here-1", -1)
    look()
    assert records.get("exec_1").status is Status.PENDING_RESULTS


@pytest.mark.usefixtures("computed")
def test_who_is_only_late_keeps_its_work(records, register, look, monkeypatch):
    """After an outage all are late; the reaper says who is dead, and nobody judges before its own beats."""
    register("here", HERE)
    register("there", THERE)
    monkeypatch.setattr(records, "overdue", lambda _seconds: ["here"])
    look()
    assert records.get("exec_1").status is Status.PENDING_RESULTS
    records.declare_lost("here", -1)
    look.heartbeats._steady_since = None
    look()
    assert records.get("exec_1").status is Status.PENDING_RESULTS


def test_what_nobody_publishes_is_not_computed_for_ever(records, jobs, computed, register, look, clock, caplog):
    """Its machine lives and works for computing alone: that is said at once, and in the end the execution fails."""
    register("here", HERE, "compute")
    look()
    look()
    assert caplog.text.count(f"no worker publishes what was computed on the disk {HERE}") == 1
    for attempt in (1, 2, 3):
        clock.now += 600
        look()
        execution = records.get("exec_1")
        assert (execution.attempt, execution.deaths) == (min(attempt + 1, 3), min(attempt, 2))
        if execution.status is Status.QUEUED:
            compute_like_the_one_here(records, jobs)
    assert (execution.status, execution.failed_step, execution.site) == (Status.FAILED, "publish", computed.site)
    assert "start `wildcast-server worker --queue publish` there, and retry" in execution.error_message
    assert execution.ended_at is not None
    assert waiting(jobs) == []


def compute_like_the_one_here(records: MemoryRecords, jobs: MemoryJobs) -> None:
    [job] = jobs.waiting
    jobs.withdraw([job.id])
    now = records.get("exec_1")
    records.begin_attempt(
        "exec_1", job=now.jobs, worker="here", site=HERE, reuse=False, elsewhere=False, started_at=utc_now()
    )
    handed = records.change("exec_1", expected=Status.RUNNING, to=Status.PENDING_RESULTS, new_job=True)
    jobs.enqueue(publish_job(handed), None)


def test_a_job_is_given_to_the_job_that_was_looked_at(records, jobs, accepted):
    """Of two who look at once, one gives it a job."""
    execution = accepted("exec_1", Status.PENDING_RESULTS)
    reconcile = Reconcile(records, jobs, Ending("server"))
    reconcile._enqueue(execution)
    with pytest.raises(StatusConflictError):
        reconcile._enqueue(execution)
    assert records.get("exec_1").jobs == execution.jobs + 1


def test_a_stale_job_cannot_be_mistaken_for_the_current_one(records, jobs, computed, heartbeats):
    """Who took the job of the dead machine in between finds that it is not the current one."""
    DeadSites(records, jobs, heartbeats, Ending("s3"), 3)._take_over(computed)
    with pytest.raises(StatusConflictError):
        records.begin_try("exec_1", job=computed.jobs, worker="late")


def test_a_job_is_named_after_its_execution():
    """Which the handlers rely on."""
    execution = Execution(id="exec_1", workflow_name="w", parameters={}, jobs=4, sequence=7)
    assert compute_job(execution) == Job("exec_1.4", "compute", "compute", "exec_1", 7)
