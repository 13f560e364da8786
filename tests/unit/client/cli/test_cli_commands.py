"""Submitting, watching and acting, as people and as programs do it."""

import io
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import click
import pytest
from starlette.responses import JSONResponse

from wildcast.cli.durations import Moment, parse_duration


@pytest.fixture
def stdin(monkeypatch):
    """Put text on standard input."""

    def put(text: str, *, is_terminal: bool = False) -> None:
        stream = io.TextIOWrapper(io.BytesIO(text.encode()))
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stdin", stream)

    return put


def test_workflows_are_listed(call):
    """A line each, with the first line of its description; programs get all of it."""
    assert call("workflows").lines == ["many  Take all kinds of parameters.", "wf    Make data."]
    assert call("workflows", "--json").json["wf"] == "Make data."


def test_a_workflow_says_what_it_takes(call):
    """As a table, or as its schema."""
    assert "steps      whole number, at least 1 and at most 100" in call("workflows", "many").text
    assert call("workflows", "many", "--json").json["properties"]["steps"]["maximum"] == 100


def test_a_submission_prints_the_id(call, api):
    """The id alone on standard output, for a shell's variable; what to do next beside it."""
    done = call("submit", "many", "source=x", "steps=7", "levels=1,2", "day=2026-01-28")
    [name] = done.lines
    assert f"`wildcast wait {name}`" in done.err
    given = api.records.get(name).parameters
    assert (given["source"], given["steps"], given["levels"], given["day"]) == ("x", 7, [1, 2], "2026-01-28")
    done = call("submit", "wf", "--json")
    assert done.json.keys() == {"workflow_name", "execution_id"}
    assert done.err == ""
    assert call("submit", "wf", "-q").err == ""


def test_a_submission_holds_labels_and_retention(call, api):
    """And is one execution for one key."""
    words = ("submit", "wf", "--label", "a=b=c", "--label", "d=e", "--retention", "7d", "--idempotency-key", "k")
    words += ("--webhook", "https://example.org/hook")
    first, second = (call(*words).lines for _ in range(2))
    assert first == second
    record = api.records.get(first[0])
    assert record.labels == {"a": "b=c", "d": "e"}
    assert record.retention_seconds == 7 * 86_400
    assert record.webhook == "https://example.org/hook"


def test_parameters_come_from_a_file(call, api, stdin, tmp_path):
    """Or from standard input; what is typed comes first."""
    (tmp_path / "p.json").write_text('{"source": "file", "steps": 2}')
    [name] = call("submit", "many", "steps=5", "--json-parameters", tmp_path / "p.json").lines
    given = api.records.get(name).parameters
    assert (given["source"], given["steps"]) == ("file", 5)
    stdin('{"n": 4}')
    [name] = call("submit", "wf", "--json-parameters", "-").lines
    assert api.records.get(name).parameters == {"n": 4}


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_file_that_holds_no_parameters_is_refused(call, api, stdin, text):
    """Before anything is sent."""
    stdin(text)
    assert call("submit", "wf", "--json-parameters", "-").code == 2
    assert api.seen == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_submission_can_wait(call, api, options):
    """For people the id comes at once; for programs, where it ended."""
    names = []

    def finish() -> None:
        while not (asked := api.asked("events")):
            time.sleep(0.01)
        names.append(asked[0].path.split("/")[-2])
        for step in (api.run, api.publish, api.complete):
            step(names[0])

    thread = threading.Thread(target=finish)
    thread.start()
    done = call("submit", "wf", "--wait", *options)
    thread.join()
    assert done.code == 0
    if options:
        assert done.json["status"] == "completed"
    else:
        assert done.lines == names
        assert "completed" in done.err


@pytest.mark.parametrize("ends_with", ["Ctrl-C", "a failure", "a refusal"])
def test_a_submission_that_was_waited_for_is_never_lost(call, api, ends_with):
    """Whatever ends the waiting, programs get the id with the error."""

    def end() -> None:
        while not api.streams:
            time.sleep(0.01)
        name = api.asked("events")[0].path.split("/")[-2]
        if ends_with == "Ctrl-C":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        elif ends_with == "a failure":
            api.run(name)
            api.fail(name)
        else:
            api.meddle = lambda _: JSONResponse({"error": "no"}, 401)
            for step in (api.run, api.publish, api.complete):
                step(name)

    thread = threading.Thread(target=end)
    thread.start()
    done = call("submit", "wf", "--wait", "--json")
    thread.join()
    kinds = {"Ctrl-C": "KeyboardInterrupt", "a failure": "ExecutionFailedError", "a refusal": "NotAuthorizedError"}
    assert (done.out, done.error["kind"]) == (b"", kinds[ends_with])
    assert api.records.get(done.error["execution_id"]).workflow_name == "wf"


def test_a_status_is_a_table(call, api):
    """With what is known, and as the API sends it for programs."""
    name = api.add(1, labels={"project": "storms"})
    api.run(name)
    api.report(name, current_step=3, total_steps=12, message="half\x1b[2J way")
    text = call("status", name).text
    assert "status     running, half\\x1b[2J way" in text
    assert "3 of 12 steps" in text
    assert "project=storms" in text
    answer = call("status", name, "--json").json
    assert (answer["execution_id"], answer["status"]) == (name, "running")


def test_the_reason_of_a_failure_is_shown(call, api):
    """To look at what has failed is no failure."""
    done = call("status", api.failed())
    assert done.code == 0
    assert "error      " in done.text
    assert "no such variable" in done.text


def test_a_wait_ends_with_the_execution(call, api):
    """And shows where it stands then."""
    name = api.add(1)
    thread = api.go_through(name, pause=0.1)
    done = call("wait", name, "--json", "--timeout", "60s")
    thread.join()
    assert (done.code, done.json["status"]) == (0, "completed")


def test_executions_are_listed(call, api):
    """The newest first, a line each, under a head that no pipe gets."""
    first, second = api.add(1), api.failed(2)
    api.add(3, labels={"project": "storms"})
    done = call("list")
    assert sorted(line.split()[0] for line in done.lines) == sorted([first, second, "exec_1_00000003"])
    assert done.err.startswith("ID ")
    assert [each["execution_id"] for each in call("list", "--status", "failed", "--json").json_lines] == [second]
    assert "project=storms" in call("list", "--label", "project=storms", "-q").text
    assert len(call("list", "--limit", "2").lines) == 2
    done = call("list", "--since", "2999-01-01")
    assert (done.out, done.err) == (b"", "wildcast: There is none.\n")
    assert len(call("list", "--since", "1h", "--workflow", "wf").lines) == 3
    assert call("list", "--until", "1h").lines == []


def test_executions_are_acted_on(call, api):
    """Cancelled, tried again, kept, let go, deleted."""
    queued, failed, completed = api.add(1), api.failed(2), api.completed(3)
    assert call("cancel", queued).text == f"{queued} is cancelled.\n"
    assert call("retry", failed, "--json").json["status"] == "queued"
    call("pin", completed)
    assert api.records.get(completed).pinned
    call("pin", completed, "--undo")
    assert not api.records.get(completed).pinned
    assert call("delete", completed, "--yes", "--json").json == {
        "workflow_name": "wf",
        "execution_id": completed,
        "deleted": True,
    }
    assert call("status", completed).code == 3


def test_a_deletion_is_asked_for(call, api, stdin):
    """On a terminal; without one it has to be said."""
    name = api.completed()
    stdin("")
    done = call("delete", name)
    assert (done.code, "--yes" in done.err) == (2, True)
    stdin("n\n", is_terminal=True)
    done = call("delete", name)
    assert (done.code, done.out) == (1, b"")
    assert name in done.err
    assert "Nothing was deleted" in done.err
    stdin("y\n", is_terminal=True)
    assert call("delete", name).text == f"{name} is deleted.\n"


def test_a_server_that_finds_no_ids_wants_the_workflow(call, api, earth2):
    """As Earth2Studio's; the sentence says how to name it on the command line."""
    name = api.add(1)
    api.meddle = earth2
    done = call("status", name)
    assert done.code == 1
    assert f"WORKFLOW/{name}" in done.err
    assert call("status", f"wf/{name}").code == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 7 * 86_400), ("1.5h", 5400), ("30m", 1800), ("45s", 45), ("45", 45), ("2w", 14 * 86_400), ("9e9d", None)],
)
def test_times_are_typed_with_their_unit(text, seconds):
    """Seconds where there is none."""
    parsed = parse_duration(text)
    assert (None if parsed is None else parsed.total_seconds()) == seconds


def test_moments_are_iso_8601_in_each_of_its_forms():
    """A date without hyphens is no number of seconds; how long ago something was has a unit."""
    moments = [Moment().convert(text, None, None) for text in ("20260128", "2026-01-28", "20260128T000000Z")]
    assert moments == [datetime(2026, 1, 28, tzinfo=UTC)] * 3
    assert datetime.now(UTC) - Moment().convert("2D", None, None) - timedelta(days=2) < timedelta(minutes=1)
    for text in ("2026", "3600", "45 ", ""):
        with pytest.raises(click.BadParameter, match="2d for two days ago"):
            Moment().convert(text, None, None)


def test_a_progress_of_publishing_is_shown(call, api):
    """How many files and bytes are there."""
    name = api.add(1)
    api.run(name)
    api.report(name, publication={"files_done": 1, "files_total": 2, "bytes_done": 500, "bytes_total": 1000})
    assert "1 of 2 files, 500 B of 1.0 kB" in call("status", name).text
