"""Going on with a computation after a death: begun again, or not, and not for ever."""

from dataclasses import replace

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import WorkflowFailedError
from wildcast_server.usecases.lookup import Lookup
from wildcast_server.usecases.queues import compute_job
from wildcast_server.usecases.reconcile import Reconcile
from wildcast_server.usecases.retry import Retry


def write_output(request, _on_progress):
    (request.output_directory / "a.txt").write_text("hello")


def fails(*_: object):
    raise WorkflowFailedError("no convergence")


def dies(*_: object):
    """End this process, as far as a thread of a test can."""
    raise SystemExit


def killed(bench, records, queued, *, is_begun, identity=None):
    """Leave behind what a worker leaves that is killed while it runs an execution."""
    worker = bench(dies, **({} if identity is None else {"identity": identity}))
    worker.runner.is_begun = is_begun
    with pytest.raises(SystemExit):
        worker.compute.run(queued.id, 1)
    assert records.get(queued.id).status is Status.RUNNING
    return worker


@pytest.mark.parametrize(("is_begun", "attempt"), [(True, 2), (False, 1)])
def test_after_a_death_the_attempts_are_the_starts(bench, records, queued, is_begun, attempt):
    """A workflow that was called counts; one that its worker had only taken is begun in the same attempt."""
    killed(bench, records, queued, is_begun=is_begun)
    bench(write_output).work()
    ended = records.get(queued.id)
    assert (ended.status, ended.attempt, ended.place) == (Status.COMPLETED, attempt, 1)


def test_a_computation_that_ended_is_not_repeated(bench, records, queued, told):
    """Killed right after it, before that was recorded: it is handed over, with what is known of it."""
    worker = bench(write_output)
    worker.compute.run(queued.id, 1)
    again = bench()
    again.work()
    ended = records.get(queued.id)
    assert (ended.status, ended.attempt, again.runner.requests) == (Status.COMPLETED, 1, [])
    assert ended.provenance.device == told.device


def test_what_the_engine_gave_up_is_not_repeated_either(bench, records, jobs, queued):
    """Its job ended without handing over what was computed; the next job does so, in the same attempt."""
    worker = bench(write_output)
    worker.compute.run(queued.id, 1)
    jobs.withdraw([queued.job_id])
    Reconcile(records, jobs, worker.means.ending)()
    again = bench()
    again.work()
    ended = records.get(queued.id)
    assert (ended.status, ended.attempt, again.runner.requests) == (Status.COMPLETED, 1, [])


@pytest.mark.parametrize("lost", ["the mark", "the output", "the machine's memory"])
def test_what_may_not_be_whole_is_computed_again(bench, records, queued, tmp_path, lost):
    """Without its mark or directory, or after a crash of the whole machine, a new attempt begins."""
    worker = bench(write_output)
    worker.compute.run(queued.id, 1)
    mark = tmp_path / "outputs" / f".{queued.id}.computed"
    if lost == "the mark":
        mark.unlink()
    elif lost == "the output":
        (tmp_path / "outputs" / queued.id / "a.txt").unlink()
        (tmp_path / "outputs" / queued.id).rmdir()
    else:
        mark.write_text(mark.read_text().replace('"boot":"', '"boot":"another'))
    bench(write_output).work()
    assert (records.get(queued.id).status, records.get(queued.id).attempt) == (Status.COMPLETED, 2)


def test_an_execution_that_takes_its_worker_along_is_not_tried_for_ever(bench, records, queued):
    """After the last attempt it fails, and the sentence says so."""
    for _ in range(3):
        killed(bench, records, queued, is_begun=True)
    worker = bench()
    worker.work()
    failed = records.get(queued.id)
    assert (failed.status, failed.attempt) == (Status.FAILED, 3)
    assert failed.error_message == "the service stopped 3 times while it ran this; it is not tried again"
    assert worker.runner.requests == []


def test_an_execution_that_was_retried_may_die_as_often_as_any(bench, records, queued):
    """Its failures were the workflow's own, and no deaths."""
    retry = Retry(Lookup(records), records, bench().means.jobs, bench().means.ending)
    for _ in range(2):
        bench(fails).work()
        retry("simulate", queued.id)
    worker = bench(dies)
    with pytest.raises(SystemExit):
        worker.compute.run(queued.id, 3)
    assert records.get(queued.id).attempt == 3
    bench(write_output).work()
    assert (records.get(queued.id).status, records.get(queued.id).attempt) == (Status.COMPLETED, 4)


def test_a_file_whose_loading_takes_the_worker_along_is_not_tried_for_ever(bench, records, queued):
    """The workflow is never called, and still there is an end to it."""
    deaths = 0
    while records.get(queued.id).status in {Status.QUEUED, Status.RUNNING} and deaths < 50:
        worker = bench(dies)
        worker.runner.is_begun = False
        deaths += 1
        try:
            worker.work_once() if deaths == 1 else worker.do(compute_job(records.get(queued.id)))
        except SystemExit:
            continue
    assert records.get(queued.id).status is Status.FAILED
    assert deaths < 50


def test_what_another_machine_may_still_write_is_left_to_it(bench, records, queued, tmp_path):
    """Its worker is held for dead; if it is not, it writes to another directory and below another prefix."""
    worker = killed(bench, records, queued, is_begun=True)
    there = replace(worker.means.identity, instance="cccccccc", site="dddddddd")
    other = bench(write_output, identity=there)
    other.work_once()
    now = records.get(queued.id)
    assert (now.attempt, now.place, now.name, now.site) == (2, 2, f"{queued.id}-2", "dddddddd")
    assert other.runner.requests[0].output_directory == tmp_path / "outputs" / f"{queued.id}-2"


def test_a_new_attempt_knows_nothing_of_the_one_before(bench, records, queued, told):
    """What the lost attempt ran on is not said of the next one."""
    killed(bench, records, queued, is_begun=True)
    records.change(queued.id, expected=Status.RUNNING, to=Status.QUEUED, provenance=told, new_job=True)
    seen = []
    bench(lambda *_: seen.append(records.get(queued.id).provenance)).do(compute_job(records.get(queued.id)))
    assert (seen[0].device, seen[0].compute_seconds) == (None, None)
