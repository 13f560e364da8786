"""Publishing what an execution wrote: in every way that it can end, told of, and going on after a death."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import (
    CredentialsExpiredError,
    NetworkError,
    UploadFailedError,
    VerificationFailedError,
    WorkflowFailedError,
)
from wildcast_server.publish import Published
from wildcast_server.transfer.files import TransferProgress
from wildcast_server.usecases import computed
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.publish_output import MAX_TRIES
from wildcast_server.usecases.queues import publish_job
from wildcast_server.usecases.retry import Retry

HALF = TransferProgress(files_done=1, files_total=2, bytes_done=50, bytes_total=100, bytes_skipped=0, seconds=2.0)


def write_output(request, _on_progress):
    (request.output_directory / "a.txt").write_text("hello")


def raising(error):
    def script(*_: object):
        raise error

    return script


@pytest.fixture
def pending(bench, records, queued):
    """An execution whose output waits to be published."""
    bench(write_output).work_once()
    return records.get(queued.id)


def test_it_goes_from_pending_results_to_completed(bench, records, pending, tmp_path):
    """Times and publication are in the record, and the local output is gone with all that was noted of it."""
    worker = bench()
    worker.work()
    ended = records.get(pending.id)
    assert ended.status is Status.COMPLETED
    assert ended.published.publication.prefix == f"outputs/{pending.id}"
    assert ended.created_at <= ended.started_at <= ended.ended_at
    assert worker.begin.journal == ["again", "closed"]
    assert list((tmp_path / "outputs").iterdir()) == []


def test_who_has_computed_it_goes_on_with_what_was_begun(bench, records, queued):
    """In the same process nobody asks the store what is there."""
    worker = bench(write_output)
    worker.work()
    assert records.get(queued.id).status is Status.COMPLETED
    assert worker.begin.journal == ["afresh", "closed"]


def test_what_somebody_else_has_tried_since_is_begun_again(bench, records, queued):
    """It may have uploaded, or removed, what this process does not know of."""
    worker = bench(write_output)
    worker.work_once()
    records.begin_try(queued.id, job=2, worker="another")
    worker.work()
    assert records.get(queued.id).status is Status.COMPLETED
    assert worker.begin.journal == ["afresh", "closed", "again", "closed"]


def test_few_are_kept(bench, queued):
    """Of many that wait to be published, the oldest are closed, and taken up as after a kill."""
    worker = bench(write_output)
    worker.work_once()
    for number in range(4):
        worker.means.kept.put(
            queued.with_changes(id=f"exec_1_1000000{number}"), worker.begin(Path(), queued, afresh=True)
        )
    assert worker.begin.journal == ["afresh", *["afresh"] * 4, "closed"]
    worker.work()
    assert worker.begin.journal[-2:] == ["again", "closed"]


def test_what_ran_is_joined_by_how_long_publishing_took(bench, records, pending, told, nowhere, eventually):
    """The provenance of the computation stays."""
    began = []

    def publish(directory, execution):
        began.append(True)
        eventually(lambda: began)
        return nowhere(directory, execution)

    bench(publish=publish).work()
    ran = records.get(pending.id).provenance
    assert (ran.device, ran.compute_seconds) == (told.device, told.compute_seconds)
    assert ran.queued_seconds == (pending.started_at - pending.created_at).total_seconds()
    assert 0 <= ran.publish_seconds < 10


def test_local_output_may_be_kept(bench, pending, tmp_path):
    """With `keep_local_output` the directory stays."""
    bench(keep_local_output=True).work()
    assert (tmp_path / "outputs" / pending.id / "a.txt").exists()


def test_what_is_published_in_place_stays(bench, pending, nowhere, tmp_path):
    """The local directory is the publication itself where the API serves it."""

    def in_place(directory, execution):
        return Published.of(nowhere(directory, execution).manifest, execution.id, storage_type="server")

    bench(publish=in_place).work()
    assert (tmp_path / "outputs" / pending.id / "a.txt").exists()


def test_output_that_cannot_be_removed_is_told(bench, records, pending, tmp_path, caplog, monkeypatch):
    """The result is completed all the same; the operator learns which directory stays."""
    directory = tmp_path / "outputs" / pending.id
    monkeypatch.setattr("shutil.rmtree", raising(PermissionError("not permitted")))
    bench().work()
    assert records.get(pending.id).status is Status.COMPLETED
    assert str(directory) in caplog.text


def test_a_failing_publication_ends_failed(bench, records, pending, tmp_path):
    """A store that refuses is the reason; output, objects and mark stay for another try."""
    worker = bench(publish=raising(UploadFailedError("a.txt could not be uploaded: denied")))
    worker.work()
    ended = records.get(pending.id)
    assert (ended.status, ended.error_message) == (Status.FAILED, "a.txt could not be uploaded: denied")
    assert ended.failed_step == "publish"
    assert (tmp_path / "outputs" / pending.id / "a.txt").exists()
    assert list(worker.means.marks) == [pending.id]
    assert worker.begin.journal == ["again", "closed"]
    assert (
        records.due_removals(ended.ended_at + timedelta(seconds=9), site="bbbbbbbb", lease_seconds=60, limit=10) == []
    )


def test_a_bug_in_publishing_ends_failed(bench, records, pending, caplog):
    """Whatever is raised, the record says so and the worker lives."""
    bench(publish=raising(KeyError("x"))).work()
    assert records.get(pending.id).error_message == "KeyError: 'x'"
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("kind", [NetworkError, CredentialsExpiredError])
@pytest.mark.parametrize("is_cause", [False, True])
def test_a_store_that_is_away_is_tried_again_without_the_workflow(bench, records, pending, nowhere, kind, is_cause):
    """What may pass is waited for, a little longer each time; the workflow does not run again."""
    failures = 2

    def publish(directory, execution):
        nonlocal failures
        if failures:
            failures -= 1
            if is_cause:
                raise UploadFailedError("a.txt could not be uploaded") from kind("away")
            raise kind("away")
        return nowhere(directory, execution)

    worker = bench(publish=publish, pauses=(0.01, 0.01))
    worker.work()
    assert (records.get(pending.id).status, records.get(pending.id).tries) == (Status.COMPLETED, 1)
    assert worker.begin.journal == ["again", "closed"] * 3
    assert worker.runner.requests == []


def test_a_store_that_stays_away_ends_failed(bench, records, pending):
    """After the last pause its sentence is the reason."""
    worker = bench(publish=raising(NetworkError("the store cannot be reached")), pauses=(0.01,))
    worker.work()
    assert records.get(pending.id).error_message == "the store cannot be reached"
    assert worker.begin.journal == ["again", "closed"] * 2


def test_what_no_time_heals_is_not_tried_again(bench, records, pending):
    """What the store has lost is lost the next second as well."""
    worker = bench(publish=raising(VerificationFailedError("a.txt is not there")), pauses=(30.0,))
    worker.work()
    assert records.get(pending.id).status is Status.FAILED
    assert worker.begin.journal == ["again", "closed"]


@pytest.mark.parametrize("where", ["before it", "in the middle", "in a pause"])
def test_a_cancelled_publication_ends(bench, records, pending, where):
    """What it has stored is removed, and more is to be removed after that."""

    class Told:
        def __init__(self) -> None:
            self.inner = worker.begin

        def __call__(self, directory, execution, *, afresh) -> object:
            ongoing = self.inner(directory, execution, afresh=afresh)

            def finish(on_progress):
                records.mark(pending.id, expected=Status.PENDING_RESULTS, cancel=True)
                if where == "in a pause":
                    raise NetworkError("away")
                while True:
                    on_progress(HALF)

            ongoing.finish = finish
            return ongoing

    worker = bench()
    worker = bench(begin=Told(), pauses=(30.0,))
    if where == "before it":
        records.mark(pending.id, expected=Status.PENDING_RESULTS, cancel=True)
    worker.work()
    ended = records.get(pending.id)
    assert (ended.status, ended.error_message, ended.published) == (Status.CANCELLED, None, None)
    assert worker.begin.inner.journal[-2:] == ["again", "abandoned"]
    due = records.due_removals(ended.ended_at + timedelta(seconds=9), site="bbbbbbbb", lease_seconds=60, limit=10)
    assert [(one.name, one.prefix) for one in due] == [(pending.id, None), (pending.id, f"outputs/{pending.id}")]


def test_a_store_that_does_not_answer_does_not_hold_up_a_cancel(bench, records, pending, nowhere):
    """The record says so within seconds; what hangs ends by itself, and what it stored is to be removed."""
    answers = threading.Event()

    def publish(directory, execution):
        records.mark(pending.id, expected=Status.PENDING_RESULTS, cancel=True)
        answers.wait()
        return nowhere(directory, execution)

    began = time.monotonic()
    worker = bench(publish=publish)
    worker.work()
    took = time.monotonic() - began
    ended = records.get(pending.id)
    answers.set()
    assert (ended.status, ended.published) == (Status.CANCELLED, None)
    assert took < 5
    due = records.due_removals(ended.ended_at + timedelta(seconds=9), site="bbbbbbbb", lease_seconds=60, limit=10)
    assert f"outputs/{pending.id}" in [one.prefix for one in due]


def test_a_pause_does_not_hold_up_a_stop(bench, records, pending, at_rest):
    """It is given to another worker, which publishes what is missing."""

    def publish(*_: object):
        worker.means.drain.begin()
        raise NetworkError("away")

    worker = bench(publish=publish, pauses=(30.0,))
    with pytest.raises(at_rest):
        worker.work_once()
    assert records.get(pending.id).status is Status.PENDING_RESULTS
    bench().do(publish_job(records.get(pending.id)))
    assert records.get(pending.id).status is Status.COMPLETED


def test_nothing_is_begun_while_the_worker_stops(bench, records, pending, at_rest):
    """A job that was taken in the last moment goes back as it was."""
    worker = bench()
    worker.means.drain.begin()
    with pytest.raises(at_rest):
        worker.work_once()
    assert records.get(pending.id) == pending
    assert worker.begin.journal == []


def test_a_publication_of_an_earlier_attempt_is_taken_over(bench, records, pending, nowhere):
    """The worker died between commit and record: the same files are this attempt's publication."""

    def publish(directory, execution):
        return nowhere(directory, execution.with_changes(attempt=7))

    bench(publish=publish).work()
    assert records.get(pending.id).published.publication.attempt == 1


@pytest.mark.parametrize("step", ["publish", "finalise", "clean up"])
def test_a_step_that_is_done_twice_is_done_once(bench, records, pending, step):
    """Killed right behind any step, before the engine has noted it: nothing comes out otherwise."""
    worker = bench()
    done = worker.publish.publish(pending.id, 2).as_json()
    if step == "publish":
        done = worker.publish.publish(pending.id, 2).as_json()
    worker.publish.finalise(pending.id, 2, done)
    once = records.get(pending.id)
    if step == "finalise":
        worker.publish.finalise(pending.id, 2, done)
    worker.publish.clean_up(pending.id, done)
    worker.publish.clean_up(pending.id, done)
    assert records.get(pending.id) == once
    assert once.status is Status.COMPLETED
    assert once.tries == (2 if step == "publish" else 1)


def test_a_publication_that_takes_its_worker_along_is_not_tried_for_ever(bench, records, pending):
    """After so many starts it fails with a sentence; the output and what is in the store stay."""
    worker = bench(publish=raising(SystemExit))
    for _ in range(MAX_TRIES):
        with pytest.raises(SystemExit):
            worker.publish.publish(pending.id, 2)
    worker.work()
    ended = records.get(pending.id)
    assert (ended.status, ended.failed_step) == (Status.FAILED, "publish")
    assert f"stopped {MAX_TRIES} times" in ended.error_message
    assert "abandoned" not in worker.begin.journal


@pytest.mark.parametrize("lost", ["the output", "the machine's memory"])
def test_an_output_that_is_lost_is_computed_again(bench, records, pending, tmp_path, lost):
    """Its directory is gone, or the machine has crashed and may have lost a part of it."""
    if lost == "the output":
        (tmp_path / "outputs" / pending.id / "a.txt").unlink()
        (tmp_path / "outputs" / pending.id).rmdir()
    else:
        mark = tmp_path / "outputs" / f".{pending.id}.computed"
        mark.write_text(mark.read_text().replace('"boot":"', '"boot":"another'))
    worker = bench(write_output)
    worker.work()
    ended = records.get(pending.id)
    assert (ended.status, ended.attempt, ended.jobs) == (Status.COMPLETED, 2, 4)
    assert len(worker.runner.requests) == 1


def test_what_failed_to_be_published_outlives_the_machine(bench, records, pending, monkeypatch):
    """The operator repairs the bucket and starts the machine anew; a retry does not compute again."""
    bench(publish=raising(UploadFailedError("no such bucket"))).work()
    monkeypatch.setattr(computed, "_boot", lambda: "another")
    worker = bench(write_output)
    Retry(Lookup(records), records, worker.means.jobs, worker.means.ending)("simulate", pending.id)
    worker.work()
    ended = records.get(pending.id)
    assert (ended.status, ended.attempt, worker.runner.requests) == (Status.COMPLETED, 1, [])


def test_an_output_that_is_lost_is_not_computed_for_ever(bench, records, pending, tmp_path):
    """Without attempts left it fails, as a computation: a retry has nothing else to begin with."""
    (tmp_path / "outputs" / pending.id / "a.txt").unlink()
    (tmp_path / "outputs" / pending.id).rmdir()
    worker = bench(max_attempts=1)
    worker.work()
    assert records.get(pending.id).status is Status.FAILED
    assert "lost" in records.get(pending.id).error_message
    assert records.get(pending.id).failed_step == "compute"


def test_a_job_that_is_not_the_current_one_publishes_nothing(bench, records, jobs, pending):
    """Its execution has another job, or has ended."""
    [stale] = jobs.waiting
    records.mark(pending.id, expected=Status.PENDING_RESULTS, new_job=True)
    worker = bench()
    worker.do(stale)
    records.change(pending.id, expected=Status.PENDING_RESULTS, to=Status.FAILED)
    worker.do(publish_job(records.get(pending.id)))
    assert worker.begin.journal == []
    assert records.get(pending.id).status is Status.FAILED


def test_what_somebody_else_has_ended_stays_ended(bench, records, pending, nowhere):
    """A publication whose execution has moved on meanwhile is not recorded."""

    def publish(directory, execution):
        records.change(pending.id, expected=Status.PENDING_RESULTS, to=Status.FAILED, error_message="given up")
        return nowhere(directory, execution)

    bench(publish=publish).work()
    assert (records.get(pending.id).status, records.get(pending.id).published) == (Status.FAILED, None)


def test_a_failed_computation_gives_up_what_was_published_live(bench, records, queued):
    """What nobody will read is removed, after the record says why."""
    worker = bench(raising(WorkflowFailedError("no convergence")))
    worker.work()
    assert worker.begin.journal == ["afresh", "closed", "again", "abandoned"]
    assert records.get(queued.id).status is Status.FAILED


def test_who_ended_the_execution_has_its_objects_removed(bench, records, queued):
    """Of one that somebody cancelled in the records everything that was published live is removed."""

    def script(_request, on_progress):
        records.change(queued.id, expected=Status.RUNNING, to=Status.CANCELLED)
        on_progress({"step": 1})

    worker = bench(script)
    worker.work()
    assert worker.begin.journal == ["afresh", "abandoned"]


class Telling:
    """A publication that tells how far it is, live or at its end, and waits until that is recorded."""

    def __init__(self, records, publish, eventually) -> None:
        self.records, self.publish, self.eventually = records, publish, eventually
        self.live_tells = False

    def __call__(self, directory, execution, *, afresh) -> "Telling":
        del afresh
        self.directory, self.execution = directory, execution
        return self

    def sink(self):
        return None

    @contextmanager
    def live(self, group, on_progress):
        del group
        if self.live_tells:
            self.tell(on_progress)
        yield

    def share(self):
        """Nothing to do."""

    def finish(self, on_progress):
        if not self.live_tells:
            self.tell(on_progress)
        return self.publish(self.directory, self.execution)

    def abandon(self):
        """Nothing to do."""

    def close(self):
        """Nothing to do."""

    def tell(self, on_progress):
        on_progress(HALF)
        self.eventually(lambda: "publication" in (self.records.get(self.execution.id).progress or {}))
        self.status = self.records.get(self.execution.id)


TOLD = {
    "files_done": 1,
    "files_total": 2,
    "bytes_done": 50,
    "bytes_total": 100,
    "bytes_per_second": 25.0,
    "seconds_left": 2.0,
}


def test_how_far_publishing_is_stands_beside_what_the_workflow_said(bench, records, queued, nowhere, eventually):
    """While results are pending, and in the completed record."""
    begin = Telling(records, nowhere, eventually)
    bench(lambda _, on_progress: on_progress({"progress": 1.0, "member": 3}), begin=begin).work()
    standard = {"progress": 1.0, "current_step": None, "total_steps": None}
    assert begin.status.status is Status.PENDING_RESULTS
    assert begin.status.progress == {**standard, "member": 3, "publication": TOLD}
    assert records.get(queued.id).progress == begin.status.progress


def test_what_is_published_live_is_told_while_the_workflow_runs(bench, records, queued, nowhere, eventually):
    """The standard fields are there although the workflow has said nothing, and a later word of its own joins."""
    begin = Telling(records, nowhere, eventually)
    begin.live_tells = True
    bench(lambda _, on_progress: on_progress({"progress": 0.5}), begin=begin).work_once()
    nothing = {"progress": None, "current_step": None, "total_steps": None}
    assert (begin.status.status, begin.status.progress) == (Status.RUNNING, {**nothing, "publication": TOLD})
    assert records.get(queued.id).progress == {**nothing, "progress": 0.5, "publication": TOLD}
