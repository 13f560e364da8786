"""Waiting for an execution, and what ends it."""

import io
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from starlette.responses import HTMLResponse, JSONResponse
from tqdm.utils import disp_len

import wildcast
from wildcast import _waiting


def test_waiting_goes_through_every_status(server):
    """Waiting ends with the result once the execution has completed."""
    server.statuses = ["queued", "running", "pending_results", "completed"]
    assert server.result().metadata.status is wildcast.ExecutionStatus.COMPLETED


def test_waiting_for_a_failed_execution_raises_its_reason(server):
    """The server's own account of the failure reaches the caller."""
    server.statuses, server.error_message = ["running", "failed"], "ValueError: no such variable"
    with pytest.raises(wildcast.ExecutionFailedError, match="no such variable") as caught:
        server.result()
    assert (caught.value.execution_id, caught.value.reason) == (server.id, "ValueError: no such variable")


@pytest.mark.parametrize(
    ("status", "kind"), [("cancelled", wildcast.ExecutionCancelledError), ("expired", wildcast.ResultsExpiredError)]
)
def test_waiting_for_what_has_no_results_raises(server, status, kind):
    """Cancelled and expired executions have their own errors."""
    server.statuses = [status]
    with pytest.raises(kind):
        server.result()


def test_waiting_ends_at_its_timeout(server):
    """An execution that goes on is an error that says so, and is a TimeoutError."""
    server.statuses = ["running"]
    with pytest.raises(TimeoutError, match="still running") as caught:
        server.client.submit("wf").wait(timeout=0.05)
    assert isinstance(caught.value, wildcast.WaitTimeoutError)


def test_waiting_survives_a_restart_of_the_server(server):
    """A server that is gone for a while does not end the waiting."""
    server.statuses = ["running", "completed"]
    execution = server.client.submit("wf")
    server.fail(503, times=4)
    assert execution.wait(timeout=20).files == ()


def test_waiting_survives_a_restart_before_the_results(server):
    """A server that goes away just before the results are asked for does not end the waiting."""
    execution = server.client.submit("wf")
    server.fail(503, times=4)
    gone = server.override
    server.override = lambda request: gone(request) if request.url.path.endswith("results") else None
    assert execution.wait(timeout=20).files == ()


def test_what_is_left_of_the_time_is_used(server):
    """A server that comes back within the time given is waited for, however short that is."""
    execution = server.client.submit("wf")
    server.fail(503, times=4)
    assert execution.wait(timeout=1.5).files == ()


def test_patience_has_an_end(monkeypatch):
    """A server that stays away ends the waiting with its own error, after the time that a restart may take."""
    monkeypatch.setattr(_waiting, "PATIENCE", 0.3)
    asked = []

    def ask():
        asked.append(time.monotonic())
        raise ConnectionError

    with pytest.raises(ConnectionError):
        _waiting.patiently(ask, lambda _error: True, None)
    assert len(asked) > 2
    assert 0.25 < asked[-1] - asked[0] < 20


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (JSONResponse({"error": "give a token", "details": "d"}, 401), wildcast.NotAuthorizedError),
        (JSONResponse({"error": "nothing of that name", "details": "d"}, 404), wildcast.UnknownExecutionError),
        (JSONResponse({"error": "out of order", "details": "d"}, 500), wildcast.ServerUnavailableError),
        (HTMLResponse("<h1>log in</h1>"), wildcast.UnexpectedAnswerError),
    ],
)
def test_an_error_that_ends_a_wait_names_the_execution(server, monkeypatch, answer, kind):
    """Whatever it is, it keeps its class and particulars, and the user can go on with the execution."""
    monkeypatch.setattr(_waiting, "PATIENCE", 0.3)
    execution = server.client.submit("wf")
    server.override = lambda _request: answer
    with pytest.raises(kind, match=server.id) as caught:
        execution.wait(timeout=20)
    assert caught.value.status == answer.status_code
    assert caught.value.details == ("d" if answer.status_code > 200 else None)


def test_results_that_are_not_there_yet_are_pending(server):
    """Asking too early is an error of its own."""
    server.override = lambda request: (
        JSONResponse({"message": "not yet", "status": "running"}, 202) if request.url.path.endswith("results") else None
    )
    with pytest.raises(wildcast.ResultsPendingError, match="running"):
        server.client.submit("wf").result()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [(404, "failed", wildcast.ExecutionFailedError), (400, "expired", wildcast.ResultsExpiredError)],
)
def test_results_that_there_are_not_say_why(server, code, status, kind):
    """The answer to a request for results is explained by the execution's status."""
    server.statuses = [status]
    server.override = lambda request: (
        JSONResponse({"error": "none"}, code) if request.url.path.endswith("results") else None
    )
    with pytest.raises(kind):
        server.client.submit("wf").result()


def test_a_bar_shows_steps_and_the_workflows_message(server, monkeypatch):
    """Asked for, the bar shows steps, status and the workflow's own words on standard error."""
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    server.statuses = ["running", "completed"]
    server.progress = {"progress": 0.5, "current_step": 3, "total_steps": 6, "message": "month 3", "variable": "t2m"}
    server.client.submit("wf").wait(timeout=20, progress=True)
    assert "3/6" in screen.getvalue()
    assert "running, month 3, variable=t2m" in screen.getvalue()


@contextmanager
def terminal(monkeypatch, columns: int) -> Iterator[list[bytes]]:
    """Make standard error a terminal that wide; gives what was written there, in the end."""
    import pty
    import termios

    reading, writing = pty.openpty()
    termios.tcsetwinsize(writing, (40, columns))
    written: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # when the last writer has closed it
            while block := os.read(reading, 1 << 16):
                written.append(block)

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(writing, "w", encoding="utf-8") as screen, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", screen)
        yield written
    thread.join(20)
    os.close(reading)


@pytest.mark.skipif(os.name != "posix", reason="a pseudoterminal")
@pytest.mark.parametrize("columns", [120, 80])
def test_a_bar_fits_the_terminal(server, monkeypatch, columns):
    """No line is longer than the terminal is wide, or cut; a long message is shortened, and ends so."""
    server.statuses = ["queued", "running", "running", "pending_results", "completed"]
    message = {"message": f"{'step ' * 40}\nof 表示 the \x1b[2J second one"}
    steps = {"progress": None, "current_step": 3, "total_steps": 60}
    server.progresses = [message, message | steps, {"message": "short"} | steps, _publication(1000), {}]
    with terminal(monkeypatch, columns) as written:
        server.client.submit("wf").wait(timeout=20, progress=True)
    drawn = b"".join(written).decode()
    lines = [line.rstrip() for line in re.split(r"\r|\n|\x1b\[A", drawn) if line.strip()]
    assert max(map(disp_len, lines)) <= columns
    assert [line for line in lines if not line.endswith(("]", "B", "left", "..."))] == []
    assert any("running, step" in line and line.endswith("...]") for line in lines)
    assert any(line.endswith("running, short]") for line in lines)
    whole = "100 of 400 files, 125.0 MB/s, 00:24 left" if columns > 80 else "100 of 400 files, 125.0 MB/s, 00:2..."
    assert any(line.endswith(whole) for line in lines)
    assert "\x1b[2J" not in drawn


def _publication(done: int, **others: object) -> dict:
    """Return a progress as the server sends it while files go up, after the workflow's own last step."""
    whole = {"files_done": done // 10, "files_total": 400, "bytes_done": done * 10**6, "bytes_total": 4000 * 10**6}
    rates = {"bytes_per_second": 125e6, "seconds_left": (4000 - done) / 125}
    return {"progress": 1.0, "current_step": 6, "total_steps": 6, "publication": {**whole, **rates, **others}}


def _drawn(server, monkeypatch, statuses: list[str], progresses: list[dict]) -> str:
    """Wait with a bar, and return everything that it wrote."""
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    server.statuses, server.progresses = statuses, progresses
    server.client.submit("wf").wait(timeout=20, progress=True)
    return screen.getvalue()


def test_a_second_bar_shows_the_bytes_that_are_published(server, monkeypatch):
    """After the workflow's own steps: bytes, files, the server's rate, and the time that is left."""
    drawn = _drawn(server, monkeypatch, ["pending_results", "completed"], [_publication(1000)])
    assert "6/6" in drawn
    assert "wf, publishing:  25%" in drawn
    assert "1.00G/4.00GB, 100 of 400 files, 125.0 MB/s, 00:24 left" in drawn


def test_the_bar_of_bytes_is_full_in_the_end(server, monkeypatch):
    """Whatever the last look had seen: a completed execution is published whole."""
    drawn = _drawn(server, monkeypatch, ["pending_results", "completed"], [_publication(3900), {}])
    assert "publishing:  98%" in drawn
    assert "publishing: 100%" in drawn.rpartition("98%")[2]


def test_what_goes_up_while_the_workflow_computes_is_told_beside_its_steps(server, monkeypatch):
    """Live publishing has no end yet that a bar could run to: the bytes stand behind the steps."""
    progress = {**_publication(1500), "current_step": 2}
    drawn = _drawn(server, monkeypatch, ["running", "completed"], [progress, {}])
    assert "2/6" in drawn
    assert "running, 1.5 GB published" in drawn
    assert "publishing:" not in drawn


@pytest.mark.parametrize(
    "publication",
    [None, "s3", {"doi": "10.1/2"}, {"files_done": "many", "files_total": 1, "bytes_done": 1, "bytes_total": 1}],
    ids=repr,
)
def test_a_server_that_does_not_tell_how_publishing_goes(server, monkeypatch, publication):
    """Earth2Studio's knows nothing of it, and a workflow of its may call a field of its own so: no second bar."""
    progress = {"progress": None, "current_step": 6, "total_steps": 6, "publication": publication}
    assert "publishing:" not in _drawn(server, monkeypatch, ["pending_results", "completed"], [progress])


def test_how_far_publishing_has_come_is_typed(server):
    """A status has it as an object, without a look into dictionaries; None where there is none."""
    server.statuses, server.progresses = ["pending_results"], [_publication(1000, seconds_left=None), None]
    execution = server.client.submit("wf")
    publishing = execution.status().publishing
    assert (publishing.files_done, publishing.files_total) == (100, 400)
    assert (publishing.bytes_done, publishing.bytes_total) == (10**9, 4 * 10**9)
    assert (publishing.bytes_per_second, publishing.seconds_left) == (125e6, None)
    assert execution.status().publishing is None


def test_no_bar_is_drawn_where_nobody_looks(server, capsys):
    """Without a terminal nothing is written."""
    server.result()
    assert capsys.readouterr().err == ""
