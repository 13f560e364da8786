"""How commands end: each exit code, and errors for people and for programs."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from wildcast._text import printable, size_text
from wildcast.cli.exits import ExitCode
from wildcast.cli.program import COMMANDS

ROOT = Path(__file__).parents[4]
UNKNOWN = "exec_1769560728_10ed9d3c"
PROGRAM = [sys.executable, "-m", "wildcast.cli"]


def test_what_works_ends_with_0(call):
    """And prints nothing but its answer."""
    done = call("workflows")
    assert (done.code, done.err) == (ExitCode.FINE, "")


def test_what_does_not_fit_ends_with_1(call, api):
    """To cancel what has completed is an error without a number of its own."""
    done = call("cancel", api.completed())
    assert done.code == ExitCode.ERROR
    assert "completed" in done.err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nothing"],
        ["status"],
        ["status", "--nothing", "x"],
        ["submit", "many", "--label", "a"],
        ["submit", "many", "--retention", "soon"],
        ["list", "--status", "nothing"],
        ["list", "--since", "once"],
        ["wait", "x", "--timeout", "0"],
        ["workflows", "--url", "ftp://example.org"],
        ["plot", "x", "y", "--isel", "time=now"],
        ["url", "x", "a", "--cookies"],
        ["completion", "tcsh"],
    ],
)
def test_what_is_typed_wrongly_ends_with_2(typed, words):
    """Options, values and addresses, before anything is asked: here no server runs."""
    done = typed(*words)
    assert (done.code, done.out) == (ExitCode.USAGE, b"")
    assert done.err


@pytest.mark.parametrize("words", [["status", "\udcff"], ["list", "--label", "a=\udcff"], ["submit", "wf", "n=\udcff"]])
def test_words_that_are_no_text_end_with_2(call, words):
    """As bytes of another encoding arrive; no server can be asked about them."""
    assert call(*words, "--json").error["kind"] == "UsageError"


def test_a_parameter_that_is_typed_wrongly_ends_with_2(call, api):
    """Nothing is submitted."""
    done = call("submit", "many", "steps=few")
    assert (done.code, "'steps'" in done.err) == (ExitCode.USAGE, True)
    assert {seen.method for seen in api.seen} == {"GET"}


def test_parameters_that_a_workflow_refuses_end_with_2(call):
    """What the server refuses is as wrong as what is refused before."""
    done = call("--json", "submit", "many", "source=x", "steps=1000")
    assert (done.code, done.error["kind"]) == (ExitCode.USAGE, "InvalidParametersError")
    assert "`wildcast workflows NAME`" in done.error["error"]


@pytest.mark.parametrize(
    "words", [["status", UNKNOWN], ["status", f"wf/{UNKNOWN}"], ["workflows", "nothing"], ["submit", "nothing", "a=1"]]
)
def test_what_is_not_there_ends_with_3(call, words):
    """Executions and workflows; the sentence says which command lists them."""
    done = call(*words)
    assert done.code == ExitCode.NOT_FOUND
    assert re.search("`wildcast (list|workflows)`", done.err)
    assert "Client." not in done.err


@pytest.mark.parametrize(
    "words", [["cat", "none.txt"], ["ls", "none"], ["ls", "-R", "none"], ["get", "*.nc"], ["open"]]
)
def test_a_file_that_is_not_there_ends_with_3(call, api, words):
    """Files, directories, patterns and datasets."""
    command, *rest = words
    done = call(command, api.completed(), *rest, "--json")
    assert done.code == ExitCode.NOT_FOUND
    assert done.error["kind"] in {"MissingFileError", "DatasetError"}


def test_what_is_advised_is_about_what_is_wrong(call, api):
    """In the words of the command line, and nothing where a part of the command is wrong that no list tells of."""
    name = api.completed()
    for words in (["url", name, "none"], ["get", name, "none"], ["open", name]):
        assert "`wildcast ls` lists what there is" in call(*words).err
    for words in (["url", name, "--ip", "x"], ["url", name, "--expires-in", "90d"], ["submit", "wf", "--webhook", "x"]):
        done = call(*words)
        assert (done.code, "`wildcast" in done.err) == (ExitCode.USAGE, False)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_accepted_ends_with_4(call, api, status):
    """And the sentence says how to log in."""
    api.meddle = lambda _: JSONResponse({"error": "who are you?"}, status)
    done = call("workflows")
    assert done.code == ExitCode.NOT_AUTHORIZED
    assert "`wildcast login`" in done.err


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_cannot_ends_with_5(call, api, status):
    """Busy or out of order."""
    api.meddle = lambda _: JSONResponse({"error": "not now"}, status)
    done = call("submit", "wf")
    assert done.code == ExitCode.UNAVAILABLE
    assert ("look at `wildcast list`" in done.err) is (status == 500)


def test_a_server_that_is_not_there_ends_with_5(call, api):
    """Nobody listens at that address."""
    api.stop()
    done = call("--json", "submit", "wf")
    assert (done.code, done.error["kind"]) == (ExitCode.UNAVAILABLE, "ServerUnavailableError")
    assert api.url in done.error["error"]


def test_what_has_not_ended_ends_with_6(call, api):
    """Files of an execution that is queued, and a wait that was not long enough."""
    name = api.add(1)
    assert call("ls", name).code == ExitCode.PENDING
    done = call("wait", name, "--timeout", "0.2s")
    assert done.code == ExitCode.PENDING
    assert name in done.err


def test_a_file_that_is_not_what_was_published_ends_with_7(call, api):
    """Another content of the same size is an error, and never printed."""
    name = api.completed()
    (api.directory / name / "a.txt").write_text("TEXT")
    done = call("cat", name, "a.txt")
    assert (done.code, done.out) == (ExitCode.READING_FAILED, b"")


def test_an_execution_without_results_ends_with_8(call, api):
    """It has failed, or was cancelled; the sentence has the reason."""
    done = call("wait", api.failed())
    assert done.code == ExitCode.NO_RESULTS
    assert "no such variable" in done.err
    cancelled = api.add(2)
    call("cancel", cancelled)
    assert call("wait", cancelled).code == ExitCode.NO_RESULTS


def test_ctrl_c_ends_with_130(api):
    """The wait ends, quietly; the sentence says that the execution goes on."""
    name = api.add(1)
    environment = os.environ | {"WILDCAST_URL": api.url}
    with subprocess.Popen([*PROGRAM, "wait", name], env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        while not api.streams:
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == ExitCode.INTERRUPTED
    assert f"wildcast wait {name}" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
@pytest.mark.parametrize("words", [["list", "--json"], ["--help"]])
def test_a_closed_pipe_ends_with_141(api, words):
    """As `head` closes it; nothing is said about it."""
    for number in range(3):
        api.add(number)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, *words],
        env=os.environ | {"WILDCAST_URL": api.url},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (ExitCode.CLOSED_PIPE, b"")


def test_a_full_disk_is_a_sentence(call, api):
    """What the operating system says about a file of this machine is no defect of ours."""
    name = api.completed()
    Path("taken").write_text("a file, where a directory should be")
    done = call("get", name, "-o", "taken/below")
    assert done.code == ExitCode.ERROR
    assert "taken" in done.err


@pytest.mark.parametrize("words", [["--json", "status"], ["status", "--json"], ["--json", "nothing"]])
def test_programs_get_errors_as_json(typed, words):
    """Wherever the option stands, also where the words themselves are wrong."""
    assert typed(*words).error["kind"] == "UsageError"


def test_a_defect_keeps_its_traceback(monkeypatch, call):
    """What nobody expected is not made to look like something that was."""
    monkeypatch.setitem(COMMANDS, "status", "output")
    with pytest.raises(AttributeError):
        call("status", "x")


def test_the_documentation_has_each_exit_code():
    """The table of the documentation has exactly the codes that there are."""
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = text.split("## Exit codes")[1].split("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(ExitCode)


def test_a_name_cannot_rewrite_the_terminal():
    """Control characters are shown, and not sent."""
    assert printable("a\x1b[2Jb\tc\nd\x07") == "a\\x1b[2Jb\tc\nd\\x07"


def test_sizes_are_for_people():
    """In decimal units, as stores have them."""
    assert [size_text(n) for n in (0, 999, 1000, 1_234_567, 5e9, 7e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "5.0 GB",
        "7.0 TB",
    ]
