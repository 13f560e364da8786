"""The runner and its process, with real workflows in a real child."""

import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from wildcast_server.errors import RunnerDiedError, SettingsError, WorkflowFailedError, WorkflowLoadError
from wildcast_server.jobs import Runner, was_called
from wildcast_server.jobs.call_note import CALLED, noting


def test_a_workflow_writes_into_its_directory(runner, request_of):
    """A run gets its parameters, and makes its output directory."""
    request = request_of("writes", text="ü")
    report = runner.run(request, lambda _: None)
    assert (request.output_directory / "a").read_text() == "ü"
    assert report.host == socket.gethostname()
    assert report.compute_seconds >= 0


def test_the_call_of_a_workflow_is_noted(runner, request_of, tmp_path):
    """The workflow finds the note of its own call; one that is not loaded has none."""
    note = tmp_path / "note"
    request = replace(request_of("copies", source=str(note)), begun=note)
    runner.run(request, lambda _: None)
    assert (request.output_directory / "copy").read_bytes() == CALLED
    assert was_called(note)
    with pytest.raises(WorkflowLoadError):
        runner.run(replace(request_of("unbuildable"), begun=tmp_path / "never"), lambda _: None)
    assert not was_called(tmp_path / "never")


def test_a_note_says_no_until_it_is_written(tmp_path):
    """Whatever else is found there counts as a call, as what an older release has left."""
    note = tmp_path / "note"
    with noting(note) as note_call:
        assert not was_called(note)
        note_call()
        assert was_called(note)
    note.write_bytes(b"")
    assert was_called(note)


@pytest.mark.parametrize("note", ["/dev/full", "missing/note"])
def test_a_note_that_cannot_be_written_costs_no_run(runner, request_of, note):
    """As on a disk that is full."""
    request = replace(request_of("writes"), begun=Path(note))
    runner.run(request, lambda _: None)
    assert (request.output_directory / "a").exists()


def test_instances_stay_warm(run, runner):
    """Two runs share a process and an instance, constructed once, with its configuration."""
    (_, [first]), (_, [second]) = run("warm"), run("warm")
    assert (first["constructed"], first["runs"]) == (1, 1)
    assert (second["constructed"], second["runs"]) == (1, 2)
    assert first["pid"] == second["pid"] == runner.pid
    assert first["greeting"] == "canary"


def test_a_configuration_is_not_shown_to_other_users(run):
    """What may be secret is neither an argument nor a variable of the child."""
    _, [progress] = run("warm")
    assert "canary" not in str(progress["argv"]) + str(progress["environment"])


def test_an_exception_arrives_with_its_traceback(run, runner):
    """Type and text are the message, fit for a record; the traceback begins in the workflow; the child lives on."""
    with pytest.raises(WorkflowFailedError) as caught:
        run("raises")
    assert str(caught.value) == r"ValueError: bad \x1b[31m weather \x00"
    assert "misbehaving.py" in caught.value.traceback
    assert "wildcast_server/jobs" not in caught.value.traceback
    pid = runner.pid
    run("writes")
    assert runner.pid == pid


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("exits", {"code": 3}, r"sys\.exit\(3\)"),
        ("exits", {"code": 0}, r"sys\.exit\(0\)"),
        ("interrupts", {}, "Keyboard"),
    ],
)
def test_leaving_by_exception_is_a_failure(run, name, parameters, message):
    """sys.exit(), even with 0, and a KeyboardInterrupt end the workflow and not the child."""
    with pytest.raises(WorkflowFailedError, match=message):
        run(name, **parameters)
    run("writes")


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("hard_exits", {"code": 0}, "exit code 0(.|\n)*before the end"),
        ("hard_exits", {"code": 7}, "exit code 7"),
        ("kills_itself", {}, "SIGKILL(.|\n)*memory(.|\n)*line 29"),
        ("faults", {}, "SIGSEGV(.|\n)*misbehaving.py"),
    ],
)
def test_a_death_is_described_and_survived(run, name, parameters, message):
    """How the child ended and what it printed last are in the error; the next run has a new child."""
    with pytest.raises(RunnerDiedError, match=message):
        run(name, **parameters)
    run("writes")


def test_only_the_last_lines_are_kept(run):
    """Of thirty printed lines the error has the last twenty."""
    with pytest.raises(RunnerDiedError) as caught:
        run("kills_itself")
    assert str(caught.value).splitlines()[1:] == [f"line {number}" for number in range(10, 30)]


def test_prints_do_not_disturb_the_protocol(run, caplog, eventually):
    """Megabytes of binary junk, and lines that look like messages, go to the log and nowhere else."""
    caplog.set_level(logging.INFO)
    _, progress = run("prints_junk")
    assert progress == [{"printed": True}]
    eventually(lambda: "to the error stream" in caplog.text)
    assert '{"type": "done"}' in caplog.text
    assert "\x00" not in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 10_000


def test_a_storm_of_progress_is_thinned_and_its_last_arrives(run):
    """Of ten thousand updates few are sent, in order, and the last one is among them."""
    _, progress = run("storms", updates=10_000)
    steps = [update["current_step"] for update in progress]
    assert steps == sorted(steps)
    assert steps[-1] == 10_000
    assert len(steps) < 1_000


def test_a_held_back_update_arrives_while_the_workflow_computes(runner, request_of):
    """The second of two quick updates is sent although no third one follows."""
    request = request_of("reports_then_waits")

    def release(progress):
        if progress["current_step"] == 2:
            (request.output_directory / "go").touch()

    runner.run(request, release)


def test_progress_that_is_not_json_is_the_workflows_error(run):
    """The workflow gets the error, and may go on."""
    _, progress = run("reports_what_is_not_json")
    assert "'loss' is not JSON" in progress[-1]["caught"]


def test_numbers_have_no_bounds(run):
    """Integers beyond 64 bits travel both ways."""
    _, progress = run("takes_big_numbers", n=2**80)
    assert progress == [{"n": 2**81}]


def test_the_logger_reaches_the_workers_log(run, caplog):
    """Records of the context's logger arrive with level, traceback and execution id."""
    caplog.set_level(logging.DEBUG)
    run("logs")
    records = [record for record in caplog.records if record.name == "wildcast_server.workflow"]
    assert [record.levelname for record in records[:3]] == ["WARNING", "INFO", "ERROR"]
    assert records[0].getMessage() == "exec_1_00000000: careful: 3"
    assert records[0].execution_id == "exec_1_00000000"
    assert "ZeroDivisionError" in records[2].getMessage()


def test_a_forked_process_cannot_report(run):
    """A process that the workflow forks is told that it cannot report, and does not mix its lines in."""
    _, progress = run("forks")
    assert [update["fork"] for update in progress] == [
        "only the process that runs the workflow can report, not one that it has forked"
    ]


def test_the_guard_is_nobodys_child(run):
    """A workflow that waits for all of its children does not wait for ours."""
    _, progress = run("waits_for_all_children")
    assert progress == [{"children": 0}]


def test_a_full_disk_is_named(run):
    """The operating system's own sentence arrives."""
    with pytest.raises(WorkflowFailedError, match="File too large"):
        run("fills_the_disk")


def test_the_peak_of_memory_is_the_runs_own(run):
    """A run that takes 200 MiB says so, and a later small one does not repeat it."""
    big, _ = run("allocates", mebibytes=200)
    small, _ = run("allocates", mebibytes=1)
    assert 200 * 2**20 < big.peak_memory_bytes < 400 * 2**20
    assert small.peak_memory_bytes < 150 * 2**20


def test_a_thread_that_is_left_behind_is_not_heard(run):
    """Progress of an earlier run is not taken for that of a later one."""
    run("leaves_a_thread")
    for _ in range(20):
        _, progress = run("storms", updates=50)
        assert not [update for update in progress if "stale" in update]


def test_wrong_parameters_are_a_failure(run):
    """The child checks again what the record has kept: the workflow may have changed."""
    with pytest.raises(WorkflowFailedError, match="mebibytes: Input should be a valid integer"):
        run("allocates", mebibytes="many")


def test_a_constructor_that_fails_is_named(run):
    """Workflow, file and reason are in the error, and the runner lives on."""
    with pytest.raises(WorkflowLoadError, match=r"unbuildable.*misbehaving\.py.*OSError: the model file is not there"):
        run("unbuildable")
    run("writes")


def test_an_unknown_workflow_names_the_broken_files(run):
    """A workflow that is not there may be in a file that could not be imported."""
    with pytest.raises(WorkflowLoadError, match=r"'missing'.*broken\.py.*not_installed_anywhere"):
        run("missing")


def test_a_mended_file_is_loaded_at_the_next_run(run, workflow_directory):
    """After a failure to load, files are imported anew."""
    with pytest.raises(WorkflowLoadError):
        run("mended")
    (workflow_directory / "broken.py").write_text("from wildcast_server import workflow\n@workflow\ndef mended(): ...")
    run("mended")


def test_a_missing_directory_is_a_load_error(tmp_path, request_of):
    """A directory that is gone when the child looks is named."""
    with Runner([tmp_path / "gone"]) as runner, pytest.raises(WorkflowLoadError, match="gone"):
        runner.run(request_of("writes"), lambda _: None)


def test_an_invalid_configuration_is_named_without_its_values(workflow_directory, request_of):
    """The field is named, and what was configured is not repeated."""
    with Runner([workflow_directory], {"warm": {"greetings": "canary"}}) as runner:
        with pytest.raises(WorkflowLoadError, match="greetings") as caught:
            runner.run(request_of("warm"), lambda _: None)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_a_configuration_that_is_not_json_stops_the_start(value):
    """What cannot be sent is refused when the runner is made; the workflow is named."""
    with pytest.raises(SettingsError, match=r"workflows\.config\.warm"):
        Runner([], {"good": {"x": 1}, "warm": {"x": value}})


def test_an_output_directory_that_is_not_empty_is_refused(runner, request_of):
    """What an earlier run left would be published as this one's."""
    request = request_of("writes")
    request.output_directory.mkdir(parents=True)
    (request.output_directory / "left").touch()
    with pytest.raises(WorkflowFailedError, match="not empty"):
        runner.run(request, lambda _: None)
    assert (request.output_directory / "left").exists()


def test_an_output_directory_that_cannot_be_made_is_a_failure(runner, request_of):
    """A file where the directory should be is named."""
    request = request_of("writes")
    request.output_directory.parent.mkdir(parents=True, exist_ok=True)
    request.output_directory.touch()
    with pytest.raises(WorkflowFailedError, match="cannot be made"):
        runner.run(request, lambda _: None)


def test_a_listener_that_raises_stops_the_workflow(runner, request_of, is_running):
    """What `on_progress` raises goes on; the workflow is killed, and the next run has a new child."""
    pids = []

    def refuse(progress):
        pids.append(progress["pid"])
        raise LookupError("no such execution")

    with pytest.raises(LookupError):
        runner.run(request_of("cooperates"), refuse)
    assert not is_running(pids[0])
    runner.run(request_of("writes"), lambda _: None)
