"""Computing an execution, in every way that it can end, and going on after a death."""

import asyncio
import platform
import socket
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import (
    ExecutionCancelledError,
    RunnerDiedError,
    ServiceUnavailableError,
    UploadFailedError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.jobs import MemorySteps
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases import compute, publish_output
from wildcast_server.usecases.queues import compute_job


def write_output(request, _on_progress):
    (request.output_directory / "a.txt").write_text("hello")


def raising(error):
    def script(*_: object):
        raise error

    return script


def test_it_goes_from_queued_to_pending_results(bench, records, jobs, queued, tmp_path):
    """The output waits in its directory, and the job that publishes it in the queue of this disk."""
    worker = bench(write_output)
    worker.work_once()
    pending = records.get(queued.id)
    assert (pending.status, pending.attempt, pending.jobs) == (Status.PENDING_RESULTS, 1, 2)
    assert (pending.worker, pending.site) == (worker.means.identity.id, "bbbbbbbb")
    assert worker.runner.requests[0].parameters == {"n": 1}
    assert (tmp_path / "outputs" / queued.id / "a.txt").exists()
    [job] = jobs.waiting
    assert (job.id, job.kind, job.queue) == (f"{queued.id}.2", "publish", "publish.bbbbbbbb")


def test_where_it_runs_is_known_from_the_start(bench, records, queued):
    """Host, versions and waiting time are in the record while the workflow computes."""
    seen = []
    bench(lambda *_: seen.append(records.get(queued.id).provenance)).work_once()
    assert (seen[0].host, seen[0].python) == (socket.gethostname(), platform.python_version())
    assert seen[0].queued_seconds >= 0
    assert (seen[0].device, seen[0].compute_seconds, seen[0].publish_seconds) == (None, None, None)


def test_what_ran_is_recorded_before_it_is_published(bench, records, queued, told):
    """A publication that fails loses nothing of the computation."""
    bench(write_output, raising(UploadFailedError("denied"))).work()
    ran = records.get(queued.id).provenance
    assert (ran.compute_seconds, ran.publish_seconds) == (told.compute_seconds, None)


def test_what_failed_is_recorded_as_far_as_it_is_known(bench, records, queued, told):
    """A workflow that raised has a host, a device and timings as well; nothing was published."""
    error = WorkflowFailedError("ValueError: no convergence")
    error.provenance = told
    bench(raising(error)).work()
    ran = records.get(queued.id).provenance
    assert (ran.device, ran.compute_seconds, ran.publish_seconds) == (told.device, told.compute_seconds, None)
    assert ran.queued_seconds >= 0


def test_progress_is_recorded(bench, records, queued):
    """What the workflow reports is in the record while it runs."""
    seen = []

    def script(_request, on_progress):
        on_progress({"step": 1})
        seen.append(records.get(queued.id).progress)

    bench(script).work_once()
    assert seen == [{"step": 1}]


@pytest.mark.parametrize(
    ("error", "reason", "starts"),
    [
        (WorkflowFailedError("ValueError: no convergence", "Traceback …"), "ValueError: no convergence", 1),
        (RunnerDiedError("the process was killed by SIGKILL"), "the process was killed by SIGKILL", 3),
        (WorkflowLoadError("it could not be constructed: OSError"), "it could not be constructed: OSError", 1),
        (KeyError("x"), "KeyError: 'x'", 1),
    ],
)
def test_a_failing_computation_ends_failed(bench, records, queued, tmp_path, error, reason, starts):
    """The reason is in the record, what was written stays, and only a death is tried again."""

    def script(request, on_progress):
        write_output(request, on_progress)
        raise error

    worker = bench(script)
    worker.work()
    ended = records.get(queued.id)
    assert (ended.status, ended.error_message, ended.failed_step) == (Status.FAILED, reason, "compute")
    assert (ended.attempt, len(worker.runner.requests)) == (starts, starts)
    assert ended.ended_at is not None
    assert (tmp_path / "outputs" / queued.id / "a.txt").exists()


def test_a_process_that_dies_once_costs_one_attempt(bench, records, queued):
    """The workflow is begun again at once, in a clean directory, and its result is that of the second attempt."""
    deaths = [RunnerDiedError("died")]

    def script(request, on_progress):
        assert list(request.output_directory.iterdir()) == []
        write_output(request, on_progress)
        if deaths:
            raise deaths.pop()

    bench(script).work()
    ended = records.get(queued.id)
    assert (ended.status, ended.attempt, ended.published.publication.attempt) == (Status.COMPLETED, 2, 2)


@pytest.mark.parametrize("kind", [WorkflowFailedError, WorkflowLoadError])
def test_the_workflows_traceback_is_in_the_log(bench, queued, caplog, kind):
    """The execution's record has one sentence, the log's one record of it has the rest."""
    bench(raising(kind("ValueError: x", "Traceback of the workflow"))).work()
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == f"{queued.id} failed: ValueError: x\nTraceback of the workflow"


def test_an_interrupted_execution_waits_again(bench, records, queued, at_rest):
    """Stopping in order is no failure and no attempt: it is queued as it was, and the step does not end."""

    def script(*_: object):
        worker.means.drain.begin()
        raise ExecutionCancelledError("told to stop")

    worker = bench(script)
    with pytest.raises(at_rest):
        worker.work_once()
    now = records.get(queued.id)
    kept = {"status", "attempt", "jobs", "started_at", "progress", "provenance", "error_message"}
    assert {name: getattr(now, name) for name in kept} == {name: getattr(queued, name) for name in kept}
    assert worker.begin.journal == ["afresh", "abandoned"]
    assert worker.means.drain.at_rest == 1
    bench(write_output).do(compute_job(now))
    assert (records.get(queued.id).status, records.get(queued.id).attempt) == (Status.PENDING_RESULTS, 1)


def test_nothing_is_begun_while_the_worker_stops(bench, records, queued, at_rest):
    """A job that was taken in the last moment goes back as it was."""
    worker = bench()
    worker.means.drain.begin()
    with pytest.raises(at_rest):
        worker.work_once()
    assert records.get(queued.id) == queued
    assert worker.runner.requests == []


def test_a_job_that_is_not_the_current_one_does_nothing(bench, records, jobs, queued):
    """Its execution has another job, has ended, or is not there any more."""
    stale = jobs.waiting[0]
    records.mark(queued.id, expected=Status.QUEUED, new_job=True)
    worker = bench()
    worker.do(stale)
    assert records.get(queued.id).status is Status.QUEUED
    records.change(queued.id, expected=Status.QUEUED, to=Status.CANCELLED)
    worker.do(compute_job(records.get(queued.id)))
    worker.do(stale._replace(id="exec_1_0000000f.1", execution_id="exec_1_0000000f"))
    assert worker.runner.requests == []
    assert records.get(queued.id).status is Status.CANCELLED


def begin_another_attempt(records, execution_id):
    records.change(execution_id, expected=tuple(Status), to=Status.QUEUED, new_attempt=2, new_job=True)


@pytest.mark.parametrize("error", [None, RunnerDiedError("died"), ExecutionCancelledError("stop")])
def test_a_stale_attempt_changes_nothing(bench, records, jobs, queued, error):
    """However an attempt ends that another one has replaced, the other one's record stays as it is."""

    def script(_request, _on_progress):
        begin_another_attempt(records, queued.id)
        if error:
            raise error

    bench(script).work()
    now = records.get(queued.id)
    assert (now.status, now.attempt, now.error_message) == (Status.QUEUED, 2, None)
    assert jobs.waiting == []


def test_a_stale_attempt_is_stopped_at_its_next_report(bench, records, queued):
    """Who computes what nobody waits for is interrupted, and publishes nothing."""
    went_on, published = [], []

    def script(_request, on_progress):
        begin_another_attempt(records, queued.id)
        on_progress({"step": 1})
        went_on.append(True)

    bench(script, lambda *_: published.append(True)).work()
    assert (went_on, published) == ([], [])


def test_a_stale_attempt_that_reports_nothing_is_interrupted(bench, records, queued):
    """The watch sees it, and what it has published is left to the attempt that replaced it."""

    def script(request, on_progress):
        begin_another_attempt(records, queued.id)
        worker.runner.wait_to_be_cancelled(request, on_progress)

    worker = bench(script)
    worker.work()
    assert worker.begin.journal == ["afresh", "closed"]
    assert records.get(queued.id).attempt == 2


@pytest.mark.parametrize("where", ["while it waits", "while it runs"])
def test_a_cancelled_execution_ends(bench, records, queued, where):
    """The workflow is interrupted, what was published live is removed, and more is to be removed after that."""
    worker = bench()
    if where == "while it waits":
        records.mark(queued.id, expected=Status.QUEUED, cancel=True)
    worker.runner.script = lambda *_: (
        records.mark(queued.id, expected=Status.RUNNING, cancel=True),
        worker.runner.wait_to_be_cancelled(),
    )
    worker.work()
    ended = records.get(queued.id)
    assert (ended.status, ended.error_message) == (Status.CANCELLED, None)
    assert ended.ended_at is not None
    assert worker.begin.journal == ([] if where == "while it waits" else ["afresh", "abandoned"])
    due = records.due_removals(ended.ended_at + timedelta(seconds=9), site="bbbbbbbb", lease_seconds=60, limit=10)
    assert [(one.name, one.prefix) for one in due] == (
        [] if where == "while it waits" else [(queued.id, None), (queued.id, f"outputs/{queued.id}")]
    )


def test_a_cancellation_outlives_the_worker(bench, records, queued):
    """Killed in the middle of it, whoever takes the job up removes what was stored, and ends it."""
    worker = bench(raising(SystemExit))
    with pytest.raises(SystemExit):
        worker.compute.run(queued.id, 1)
    records.mark(queued.id, expected=Status.RUNNING, cancel=True)
    again = bench()
    again.work()
    assert records.get(queued.id).status is Status.CANCELLED
    assert again.begin.journal == ["again", "abandoned"]
    assert again.runner.requests == []


def test_a_workflow_that_takes_too_long_fails(bench, records, queued):
    """It has failed, and the sentence says how long it might have taken."""
    worker = bench(seconds=0.05)
    worker.runner.script = worker.runner.wait_to_be_cancelled
    worker.work()
    ended = records.get(queued.id)
    assert ended.status is Status.FAILED
    assert ended.error_message == "the workflow took longer than 0.05 seconds, which is what it may take"
    assert worker.begin.journal == ["afresh", "closed", "again", "abandoned"]


def test_who_wants_to_read_early_is_heard(bench, records, queued, eventually):
    """Once somebody has asked for partial results, the publication is told to share what it has."""

    def script(*_: object):
        records.mark(queued.id, expected=Status.RUNNING, partial=True)
        eventually(lambda: "shared" in worker.begin.journal)

    worker = bench(script)
    worker.work_once()
    assert records.get(queued.id).status is Status.PENDING_RESULTS


class FailingRecords(MemoryRecords):
    """Records that cannot be reached for some of the methods."""

    def __init__(self, *failing: object, times: int = 1_000) -> None:
        super().__init__()
        self.failing = failing
        self.times = times

    def _fail(self, what):
        if what in self.failing and self.times:
            self.times -= 1
            raise ServiceUnavailableError("the database is locked")

    def set_progress(self, execution_id, attempt, progress):
        self._fail("set_progress")
        return super().set_progress(execution_id, attempt, progress)

    def begin_attempt(self, execution_id, **how):
        self._fail(Status.RUNNING)
        return super().begin_attempt(execution_id, **how)

    def change(self, execution_id, *, to, **changes):
        self._fail(to)
        return super().change(execution_id, to=to, **changes)


def test_progress_that_cannot_be_recorded_stops_no_computation(bench, queued, caplog):
    """A database that is away for a moment does not cost hours of computing."""
    records = FailingRecords("set_progress")
    records.insert(queued)
    bench(lambda _, on_progress: on_progress({"step": 1}), records=records).work()
    assert records.get(queued.id).status is Status.COMPLETED
    assert "the database is locked" in caplog.text


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING_RESULTS, Status.COMPLETED])
def test_an_outage_of_the_records_costs_no_execution(bench, queued, caplog, status):
    """A database that is away makes no failure of a run, nor of a publication that is verified."""
    records = FailingRecords(status, times=20)
    records.insert(queued)
    bench(write_output, records=records).work()
    ended = records.get(queued.id)
    assert (ended.status, ended.error_message, ended.attempt) == (Status.COMPLETED, None, 1)
    assert caplog.text.count("the database is locked") == 20


def test_an_outage_does_not_hold_up_a_stop(bench, queued, at_rest):
    """What cannot be recorded when the worker has to end is done again by whoever comes next."""
    records = FailingRecords(Status.PENDING_RESULTS)
    records.insert(queued)
    worker = bench(write_output, records=records, waits=(30.0,))
    ran = worker.compute.run(queued.id, 1)
    worker.means.drain.begin()
    with pytest.raises(at_rest):
        worker.compute.hand_over(queued.id, 1, ran.as_json())
    records.times = 0
    worker.compute.hand_over(queued.id, 1, ran.as_json())
    assert records.get(queued.id).status is Status.PENDING_RESULTS


def test_handing_over_twice_changes_nothing_more(bench, records, jobs, queued):
    """Killed between the change and the engine's note of it, the step is done again."""
    worker = bench(write_output)
    ran = worker.compute.run(queued.id, 1).as_json()
    worker.compute.hand_over(queued.id, 1, ran)
    once = records.get(queued.id)
    worker.compute.hand_over(queued.id, 1, ran)
    assert records.get(queued.id) == once
    assert [job.id for job in jobs.waiting] == [f"{queued.id}.1", f"{queued.id}.2"]


def test_what_an_earlier_attempt_left_is_removed(bench, queued, tmp_path):
    """A second try does not publish the first one's files."""
    left = tmp_path / "outputs" / queued.id / "sub"
    left.mkdir(parents=True)
    (left / "old.txt").touch()
    seen = []
    bench(lambda request, _: seen.extend(request.output_directory.rglob("*"))).work_once()
    assert seen == []


def test_a_disk_that_takes_no_mark_stops_nothing(bench, records, queued, tmp_path, caplog):
    """A full disk costs the note, not the result."""
    (tmp_path / "outputs" / f".{queued.id}.computed").mkdir(parents=True)
    bench(write_output).work()
    assert records.get(queued.id).status is Status.COMPLETED
    assert "would compute it again" in caplog.text


def test_an_outcome_is_json(bench, queued):
    """Whatever a step returns is kept as JSON, and read again as it was."""
    ran = bench(write_output).compute.run(queued.id, 1)
    assert msgspec.json.decode(msgspec.json.encode(ran.as_json())) == ran.as_json()
    assert type(ran).of_json(ran.as_json()) == ran


class NamedSteps(MemorySteps):
    """Steps that note their names."""

    def __init__(self) -> None:
        self.names = []

    async def once(self, name, work):
        self.names.append(name)
        return await super().once(name, work)

    async def interruptible(self, name, work, interrupt):
        self.names.append(name)
        return await super().interruptible(name, work, interrupt)


def test_the_steps_are_those_that_engines_keep(bench, jobs, queued):
    """Their names and order are part of what waits in a database while wildcast is upgraded."""
    worker, steps = bench(write_output), NamedSteps()
    asyncio.run(worker.compute(jobs.waiting[0].id, queued.id, steps))
    assert tuple(steps.names) == compute.STEPS == ("run", "hand over")
    steps = NamedSteps()
    asyncio.run(worker.publish(f"{queued.id}.2", queued.id, steps))
    assert tuple(steps.names) == publish_output.STEPS == ("publish", "finalise", "clean up")


class Disk:
    """A disk that somebody frees, or not."""

    def __init__(self) -> None:
        self.is_full = True

    def check(self) -> None:
        if self.is_full:
            raise ServiceUnavailableError("the server's disk has 7 bytes free")


@pytest.mark.parametrize("then", ["room", "cancelled", "drained"])
def test_nothing_is_begun_on_a_full_disk(bench, records, queued, at_rest, caplog, monkeypatch, then):
    """It waits until there is room, and no longer than it is wanted; the log says why."""
    monkeypatch.setattr(compute, "ROOM_SECONDS", 0.01)
    disk, ran = Disk(), []
    worker = bench(lambda *_: ran.append(True))
    worker.compute = replace(worker.compute, room=disk)

    def go_on() -> None:
        while "waits: the server's disk has 7 bytes free" not in caplog.text:
            time.sleep(0.01)
        if then == "room":
            disk.is_full = False
        elif then == "cancelled":
            records.change(queued.id, expected=Status.QUEUED, to=Status.CANCELLED)
        else:
            worker.means.drain.begin()

    other = threading.Thread(target=go_on)
    other.start()
    with pytest.raises(at_rest) if then == "drained" else nullcontext():
        worker.work_once()
    other.join()
    expected = {"room": Status.PENDING_RESULTS, "cancelled": Status.CANCELLED, "drained": Status.QUEUED}
    assert records.get(queued.id).status is expected[then]
    assert bool(ran) is (then == "room")
