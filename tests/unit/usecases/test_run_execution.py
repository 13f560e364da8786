"""Running one execution, in every way that it can end."""

import logging
import platform
import socket
import time

import msgspec
import pytest

from wildcast.contract.manifest import Manifest
from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.domain.execution import utc_now
from wildcast_server.errors import (
    ExecutionCancelledError,
    RunnerDiedError,
    ServiceUnavailableError,
    UploadFailedError,
    WorkflowFailedError,
    WorkflowLoadError,
)
from wildcast_server.publish import Published
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases.restart import MAX_ATTEMPTS, put_back_active, resume_unfinished


def write_output(request, _on_progress):
    (request.output_directory / "a.txt").write_text("hello")


def manifest_for(execution, attempt=None):
    return Manifest.of(
        [],
        execution=execution.id,
        attempt=attempt or execution.attempt,
        created_at=utc_now(),
        verified="local",
        datasets=(),
    )


def raising(error):
    def script(_request, _on_progress):
        raise error

    return script


def test_it_goes_from_queued_to_completed(run_with, records, queued, tmp_path):
    """Times, publication and parameters are in the record, and the local output is gone."""
    run = run_with(write_output)
    run(queued.id)
    ended = records.get(queued.id)
    assert ended.status is Status.COMPLETED
    assert ended.published.publication.prefix == f"outputs/{queued.id}"
    assert ended.created_at <= ended.started_at <= ended.ended_at
    assert run.runner.requests[0].parameters == {"n": 1}
    assert not (tmp_path / "outputs" / queued.id).exists()


def test_what_ran_is_recorded(run_with, records, queued, told, nowhere):
    """What the runner tells is joined by how long the execution waited and its publication took."""

    def publish(directory, execution):
        time.sleep(0.02)
        return nowhere(directory, execution)

    run_with(write_output, publish)(queued.id)
    ended = records.get(queued.id)
    ran = ended.provenance
    assert ran.queued_seconds == (ended.started_at - ended.created_at).total_seconds()
    assert 0.02 <= ran.publish_seconds < 10
    assert msgspec.structs.replace(ran, queued_seconds=None, publish_seconds=None) == told


def test_where_it_runs_is_known_from_the_start(run_with, records, queued):
    """Host, versions and waiting time are in the record while the workflow computes."""
    seen = []
    run_with(lambda *_: seen.append(records.get(queued.id).provenance))(queued.id)
    assert (seen[0].host, seen[0].python) == (socket.gethostname(), platform.python_version())
    assert seen[0].queued_seconds >= 0
    assert (seen[0].device, seen[0].compute_seconds, seen[0].publish_seconds) == (None, None, None)


def test_what_failed_is_recorded_as_far_as_it_is_known(run_with, records, queued, told):
    """A workflow that raised has a host, a device and timings as well; nothing was published."""
    error = WorkflowFailedError("ValueError: no convergence")
    error.provenance = told
    run_with(raising(error))(queued.id)
    ran = records.get(queued.id).provenance
    assert (ran.device, ran.compute_seconds, ran.publish_seconds) == (told.device, told.compute_seconds, None)
    assert ran.queued_seconds >= 0


def test_what_ran_is_recorded_before_it_is_published(run_with, records, queued, told):
    """A publication that fails loses nothing of the computation."""
    run_with(write_output, raising(UploadFailedError("denied")))(queued.id)
    ran = records.get(queued.id).provenance
    assert (ran.compute_seconds, ran.publish_seconds) == (told.compute_seconds, None)


def test_a_new_attempt_begins_with_nothing_known(records, jobs, bring_to, told):
    """What the lost attempt ran on is not said of the next one."""
    execution = bring_to("exec_1_00000001", Status.QUEUED)
    records.change(execution.id, expected=Status.QUEUED, to=Status.RUNNING, provenance=told)
    resume_unfinished(records, jobs)
    assert records.get(execution.id).provenance is None


def test_local_output_may_be_kept(run_with, queued, tmp_path):
    """With `keep_local_output` the directory stays."""
    run_with(write_output, keep_local_output=True)(queued.id)
    assert (tmp_path / "outputs" / queued.id / "a.txt").exists()


def test_what_is_published_in_place_stays(run_with, queued, tmp_path):
    """The local directory is the publication itself where the API serves it."""

    def in_place(_directory, execution):
        made = Published.of(manifest_for(execution), execution.id, storage_type="server")
        assert (tmp_path / "outputs" / execution.id / "a.txt").exists()
        return made

    run_with(write_output, in_place)(queued.id)
    assert (tmp_path / "outputs" / queued.id / "a.txt").exists()


def test_progress_is_recorded(run_with, records, queued):
    """What the workflow reports is in the record while it runs."""
    seen = []

    def script(_request, on_progress):
        on_progress({"step": 1})
        seen.append(records.get(queued.id).progress)

    run_with(script)(queued.id)
    assert seen == [{"step": 1}]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkflowFailedError("ValueError: no convergence", "Traceback …"), "ValueError: no convergence"),
        (RunnerDiedError("the process was killed by SIGKILL"), "the process was killed by SIGKILL"),
        (WorkflowLoadError("it could not be constructed: OSError"), "it could not be constructed: OSError"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_failing_computation_ends_failed(run_with, records, queued, tmp_path, error, reason):
    """The reason is in the record, and what was written stays."""

    def script(request, on_progress):
        write_output(request, on_progress)
        raise error

    run_with(script)(queued.id)
    ended = records.get(queued.id)
    assert (ended.status, ended.error_message) == (Status.FAILED, reason)
    assert ended.ended_at is not None
    assert (tmp_path / "outputs" / queued.id / "a.txt").exists()


@pytest.mark.parametrize("kind", [WorkflowFailedError, WorkflowLoadError])
def test_the_workflows_traceback_is_in_the_log(run_with, queued, caplog, kind):
    """The execution's record has one sentence, the log's one record of it has the rest."""
    run_with(raising(kind("ValueError: x", "Traceback of the workflow")))(queued.id)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == f"{queued.id} failed: ValueError: x\nTraceback of the workflow"


def test_a_failing_publication_ends_failed(run_with, records, queued, tmp_path):
    """A store that refuses is the reason, and the output stays for another try."""
    run_with(write_output, raising(UploadFailedError("a.txt could not be uploaded: denied")))(queued.id)
    ended = records.get(queued.id)
    assert (ended.status, ended.error_message) == (Status.FAILED, "a.txt could not be uploaded: denied")
    assert (tmp_path / "outputs" / queued.id / "a.txt").exists()


def test_an_interrupted_execution_waits_again(run_with, records, queued):
    """Stopping in order is no failure and no attempt: it is queued as it was."""
    run_with(raising(ExecutionCancelledError("told to stop")))(queued.id)
    assert records.get(queued.id) == queued


def test_an_execution_that_is_not_queued_is_left_alone(run_with, bring_to, records):
    """What another worker has begun, or somebody has cancelled, is not run."""
    for number, status in enumerate((Status.RUNNING, Status.CANCELLED, Status.COMPLETED)):
        execution = bring_to(f"exec_1_0000000{number}", status)
        run = run_with()
        run(execution.id)
        assert run.runner.requests == []
        assert records.get(execution.id) == execution


def begin_another_attempt(records, execution_id):
    records.change(execution_id, expected=tuple(Status), to=Status.QUEUED, new_attempt=2)


@pytest.mark.parametrize("error", [None, RunnerDiedError("died"), ExecutionCancelledError("stop")])
def test_a_stale_attempt_changes_nothing(run_with, records, queued, error):
    """However an attempt ends that another one has replaced, the other one's record stays as it is."""

    def script(_request, _on_progress):
        begin_another_attempt(records, queued.id)
        if error:
            raise error

    run_with(script)(queued.id)
    now = records.get(queued.id)
    assert (now.status, now.attempt, now.error_message) == (Status.QUEUED, 2, None)


def test_a_stale_attempt_is_stopped_at_its_next_report(run_with, records, queued):
    """Who computes what nobody waits for is interrupted, and publishes nothing."""
    went_on, published = [], []

    def script(_request, on_progress):
        begin_another_attempt(records, queued.id)
        on_progress({"step": 1})
        went_on.append(True)

    run_with(script, lambda *_: published.append(True))(queued.id)
    assert (went_on, published) == ([], [])


class FailingRecords(MemoryRecords):
    """Records that cannot be reached for some of the methods."""

    def __init__(self, *failing: object, times: int = 1_000) -> None:
        super().__init__()
        self.failing = failing
        self.times = times

    def set_progress(self, execution_id, attempt, progress):
        if "set_progress" in self.failing:
            raise ServiceUnavailableError("the database is locked")
        return super().set_progress(execution_id, attempt, progress)

    def change(self, execution_id, *, to, **changes):
        if to in self.failing and self.times:
            self.times -= 1
            raise ServiceUnavailableError("the database is locked")
        return super().change(execution_id, to=to, **changes)


def test_progress_that_cannot_be_recorded_stops_no_computation(run_with, queued, caplog):
    """A database that is away for a moment does not cost hours of computing."""
    records = FailingRecords("set_progress")
    records.insert(queued)
    run_with(lambda _, on_progress: on_progress({"step": 1}), records=records)(queued.id)
    assert records.get(queued.id).status is Status.COMPLETED
    assert "the database is locked" in caplog.text


def test_a_failure_that_cannot_be_recorded_is_left_to_the_next_start(run_with, queued, caplog):
    """The worker lives on, and the execution is taken up again."""
    records = FailingRecords(Status.FAILED)
    records.insert(queued)
    run_with(raising(RunnerDiedError("died")), records=records, record_waits=())(queued.id)
    assert records.get(queued.id).status is Status.RUNNING
    assert "until the next start" in caplog.text


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING_RESULTS, Status.COMPLETED])
def test_an_outage_of_the_records_costs_no_execution(run_with, queued, caplog, status):
    """A database that is away for a moment makes no failure of a run, nor of a publication that is verified."""
    records = FailingRecords(status, times=2)
    records.insert(queued)
    run_with(write_output, records=records, record_waits=(0, 0))(queued.id)
    ended = records.get(queued.id)
    assert (ended.status, ended.error_message) == (Status.COMPLETED, None)
    assert caplog.text.count("the database is locked") == 2


def test_what_cannot_be_begun_is_left_to_the_next_start(run_with, queued, caplog):
    """It waits as before, and the engine sees no exception."""
    records = FailingRecords(Status.RUNNING)
    records.insert(queued)
    run = run_with(records=records, record_waits=())
    run(queued.id)
    assert run.runner.requests == []
    assert records.get(queued.id) == queued
    assert "waits for the next start" in caplog.text


def test_what_an_earlier_attempt_left_is_removed(run_with, queued, tmp_path):
    """A second try does not publish the first one's files."""
    left = tmp_path / "outputs" / queued.id / "sub"
    left.mkdir(parents=True)
    (left / "old.txt").touch()
    seen = []
    run_with(lambda request, _: seen.extend(request.output_directory.rglob("*")))(queued.id)
    assert seen == []


def test_a_publication_of_an_earlier_attempt_is_taken_over(run_with, records, bring_to):
    """The service died between commit and record: the same files are this attempt's publication."""
    execution = bring_to("exec_1_0000000a", Status.QUEUED, attempt=2)

    def publish(_directory, execution):
        return Published.of(manifest_for(execution, attempt=1), f"outputs/{execution.id}")

    run_with(publish=publish)(execution.id)
    ended = records.get(execution.id)
    assert (ended.status, ended.error_message) == (Status.COMPLETED, None)
    assert ended.published.publication.attempt == 2


def test_output_that_cannot_be_removed_is_told(run_with, records, queued, tmp_path, caplog):
    """The result is completed all the same; the operator learns which directory stays."""

    def publish(directory, execution):
        directory.rmdir()
        return Published.of(manifest_for(execution), f"outputs/{execution.id}")

    run_with(publish=publish)(queued.id)
    assert records.get(queued.id).status is Status.COMPLETED
    assert str(tmp_path / "outputs" / queued.id) in caplog.text


def test_a_start_takes_up_what_was_unfinished(records, jobs, bring_to):
    """Active executions begin another attempt, queued ones keep theirs, ended ones stay; the order is kept."""
    bring_to("exec_1_00000001", Status.RUNNING)
    bring_to("exec_1_00000002", Status.COMPLETED)
    bring_to("exec_1_00000003", Status.QUEUED)
    bring_to("exec_1_00000004", Status.PENDING_RESULTS)
    bring_to("exec_1_00000005", Status.FAILED)
    assert resume_unfinished(records, jobs) == jobs.taken
    assert jobs.taken == ["exec_1_00000001", "exec_1_00000003", "exec_1_00000004"]
    assert [records.get(name).attempt for name in jobs.taken] == [2, 1, 2]
    assert {records.get(name).status for name in jobs.taken} == {Status.QUEUED}
    assert [records.get(name).started_at for name in jobs.taken] == [None] * 3


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING_RESULTS])
def test_an_execution_that_takes_the_service_along_is_not_tried_for_ever(records, jobs, bring_to, status):
    """After the last attempt it fails, and the sentence says so; one that only waits is not at fault."""
    bring_to("exec_1_00000001", status, attempt=MAX_ATTEMPTS)
    bring_to("exec_1_00000002", Status.QUEUED, attempt=MAX_ATTEMPTS)
    assert resume_unfinished(records, jobs) == ["exec_1_00000002"]
    failed = records.get("exec_1_00000001")
    assert failed.status is Status.FAILED
    assert f"stopped {MAX_ATTEMPTS} times" in failed.error_message
    assert failed.ended_at is not None


def test_what_a_stop_cuts_off_waits_and_counts_no_more(run_with, records, queued, caplog):
    """A publication that outlasts the grace is queued in its attempt; what it ends with is not recorded."""
    caplog.set_level(logging.WARNING)

    def publish(_directory, execution):
        put_back_active(records)
        return Published.of(manifest_for(execution), f"outputs/{execution.id}")

    run_with(publish=publish)(queued.id)
    assert records.get(queued.id) == queued
    assert "waits for the next start" in caplog.text
