"""What running an execution makes of its publication: begun early, told of, given up, or gone on with."""

import time
from contextlib import contextmanager

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import ExecutionCancelledError, UploadFailedError, WorkflowFailedError
from wildcast_server.transfer.files import TransferProgress
from wildcast_server.usecases.computed import Marks
from wildcast_server.usecases.restart import MAX_RESUMED, put_back_active, resume_unfinished

ID = "exec_1_00000001"

HALF = TransferProgress(files_done=1, files_total=2, bytes_done=50, bytes_total=100, bytes_skipped=0, seconds=2.0)


def raising(error):
    def script(*_: object):
        raise error

    return script


@pytest.fixture
def marks(tmp_path) -> Marks:
    """The marks beside the output directories."""
    return Marks(tmp_path / "outputs")


@pytest.fixture
def computed(bring_to, marks, tmp_path):
    """Record an execution whose computation ended, with its output, as a killed service leaves it."""

    def build(status=Status.PENDING_RESULTS, attempt=1):
        execution = bring_to(ID, status, attempt)
        output = tmp_path / "outputs" / ID
        output.mkdir(parents=True, exist_ok=True)
        (output / "a.txt").write_text("hello")
        marks.set(execution)
        return execution

    return build


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("status", [Status.PENDING_RESULTS, Status.RUNNING])
def test_what_was_computed_is_published_after_a_restart(run_with, records, jobs, computed, marks, status):
    """The workflow does not run again, the attempt is the same, and the record stays pending until it is completed."""
    computed(status)
    assert resume_unfinished(records, jobs, marks) == [ID]
    assert (records.get(ID).status, records.get(ID).attempt) == (Status.PENDING_RESULTS, 1)
    run = run_with()
    run(ID)
    assert run.runner.requests == []
    assert run.begin.journal == ["again"]
    assert records.get(ID).status is Status.COMPLETED
    assert list(marks) == []


def test_what_ran_is_still_known_after_a_restart(run_with, records, jobs, computed, marks, told):
    """The provenance of the computation is joined by how long publishing took."""
    execution = computed(Status.RUNNING)
    records.change(execution.id, expected=Status.RUNNING, to=Status.PENDING_RESULTS, provenance=told)
    resume_unfinished(records, jobs, marks)
    run_with()(ID)
    ran = records.get(ID).provenance
    assert (ran.device, ran.publish_seconds is not None) == (told.device, True)


@pytest.mark.parametrize("lost", ["the mark", "the output", "the machine's memory"])
def test_what_may_not_be_whole_is_computed_again(records, jobs, computed, marks, tmp_path, lost):
    """Without its mark or directory, or after a crash of the whole machine, a new attempt begins."""
    computed()
    if lost == "the mark":
        marks.remove(ID)
    elif lost == "the output":
        (tmp_path / "outputs" / ID / "a.txt").unlink()
        (tmp_path / "outputs" / ID).rmdir()
    else:
        mark = tmp_path / "outputs" / f".{ID}.computed"
        mark.write_text(mark.read_text().replace('"boot":"', '"boot":"another'))
    resume_unfinished(records, jobs, marks)
    assert (records.get(ID).status, records.get(ID).attempt) == (Status.QUEUED, 2)


def test_the_mark_of_another_attempt_counts_not(records, jobs, computed, marks):
    """What attempt 1 left is not what attempt 2 computes."""
    marks.set(computed(attempt=2).with_changes(attempt=1))
    resume_unfinished(records, jobs, marks)
    assert records.get(ID).attempt == 3


def test_a_publication_that_takes_the_service_along_is_not_tried_for_ever(records, jobs, computed, marks):
    """After so many starts it fails with a sentence; the output and what is in the store stay."""
    computed()
    given_up = []
    for _ in range(MAX_RESUMED):
        assert resume_unfinished(records, jobs, marks) == [ID]
    assert resume_unfinished(records, jobs, marks, given_up.append) == []
    assert records.get(ID).status is Status.FAILED
    assert f"stopped {MAX_RESUMED} times" in records.get(ID).error_message
    assert given_up == []


def test_what_is_being_published_stays_pending_over_a_stop(records, computed, marks, caplog):
    """A stop does not make a computation of a publication."""
    execution = computed()
    put_back_active(records, marks)
    assert records.get(ID) == execution
    assert "goes on with publishing" in caplog.text


def test_a_failed_computation_gives_up_what_was_published_live(run_with, records, queued):
    """What nobody will read is removed, after the record says why."""
    run = run_with(raising(WorkflowFailedError("no convergence")))
    run(queued.id)
    assert run.begin.journal == ["afresh", "abandoned"]
    assert records.get(queued.id).status is Status.FAILED


def test_an_interrupted_computation_gives_up_what_was_published_live(run_with, records, queued):
    """The next start computes it again, into a clean prefix."""
    run = run_with(raising(ExecutionCancelledError("told to stop")))
    run(queued.id)
    assert run.begin.journal == ["afresh", "abandoned"]
    assert records.get(queued.id).status is Status.QUEUED


def test_a_failed_publication_keeps_what_is_stored(run_with, records, queued, marks):
    """Publishing again later sends the rest, and the mark tells that nothing is to be computed."""
    run = run_with(publish=raising(UploadFailedError("denied")))
    run(queued.id)
    assert run.begin.journal == ["afresh", "closed"]
    assert list(marks) == [queued.id]
    assert records.get(queued.id).error_message == "denied"


@pytest.mark.parametrize(
    ("to", "journal"), [(Status.CANCELLED, ["afresh", "abandoned"]), (Status.QUEUED, ["afresh", "closed"])]
)
def test_who_took_the_execution_away_decides(run_with, records, queued, to, journal):
    """Of a cancelled one everything is removed; what another attempt may be writing is left alone."""

    def script(_request, on_progress):
        more = {"new_attempt": 2} if to is Status.QUEUED else {}
        records.change(queued.id, expected=Status.RUNNING, to=to, **more)
        on_progress({"step": 1})

    run = run_with(script)
    run(queued.id)
    assert run.begin.journal == journal


class Telling:
    """A publication that tells how far it is, live or at its end, and waits until that is recorded."""

    def __init__(self, records, publish) -> None:
        self.records, self.publish = records, publish
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
        until(lambda: "publication" in (self.records.get(self.execution.id).progress or {}))
        self.status = self.records.get(self.execution.id)


TOLD = {
    "files_done": 1,
    "files_total": 2,
    "bytes_done": 50,
    "bytes_total": 100,
    "bytes_per_second": 25.0,
    "seconds_left": 2.0,
}


def test_how_far_publishing_is_stands_beside_what_the_workflow_said(run_with, records, queued, nowhere):
    """While results are pending, and in the completed record."""
    begin = Telling(records, nowhere)
    run_with(lambda _, on_progress: on_progress({"progress": 1.0, "member": 3}), begin=begin)(queued.id)
    standard = {"progress": 1.0, "current_step": None, "total_steps": None}
    assert begin.status.status is Status.PENDING_RESULTS
    assert begin.status.progress == {**standard, "member": 3, "publication": TOLD}
    assert records.get(queued.id).progress == begin.status.progress


def test_what_is_published_live_is_told_while_the_workflow_runs(run_with, records, queued, nowhere):
    """The standard fields are there although the workflow has said nothing, and a later word of its own joins."""
    begin = Telling(records, nowhere)
    begin.live_tells = True
    run_with(lambda _, on_progress: on_progress({"progress": 0.5}), begin=begin)(queued.id)
    nothing = {"progress": None, "current_step": None, "total_steps": None}
    assert (begin.status.status, begin.status.progress) == (Status.RUNNING, {**nothing, "publication": TOLD})
    assert records.get(queued.id).progress == {**nothing, "progress": 0.5, "publication": TOLD}


def test_output_that_a_kill_left_behind_is_removed_at_the_next_start(run_with, bring_to, marks, tmp_path):
    """Killed after the record said completed: the directory goes; that of one that is not recorded yet stays."""
    for name, status in ((ID, Status.COMPLETED), ("exec_1_00000002", Status.PENDING_RESULTS)):
        execution = bring_to(name, status)
        (tmp_path / "outputs" / name).mkdir(parents=True)
        marks.set(execution)
    run_with().clean_up_left()
    assert not (tmp_path / "outputs" / ID).exists()
    assert (tmp_path / "outputs" / "exec_1_00000002").exists()
    assert list(marks) == ["exec_1_00000002"]


def test_a_disk_that_takes_no_mark_stops_nothing(run_with, records, queued, tmp_path, caplog):
    """A full disk costs the note, not the result."""
    (tmp_path / "outputs" / f".{queued.id}.computed").mkdir(parents=True)
    run_with()(queued.id)
    assert records.get(queued.id).status is Status.COMPLETED
    assert "would compute it again" in caplog.text
