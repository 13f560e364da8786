"""How an execution looks, in a terminal and in a notebook."""

import io
import sys
import warnings
from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType, SimpleNamespace

import pytest

import wildcast
from wildcast._api import Api
from wildcast._execution_view import described
from wildcast._progress import DownloadBar, ProgressBar, is_watched
from wildcast.cli.describing import status_text
from wildcast.contract.status import ExecutionStatus as Status
from wildcast.contract.wire import StatusAnswer

UPLOAD = {"files_done": 1, "files_total": 2, "bytes_done": 500, "bytes_total": 1000}


def answered(**fields) -> StatusAnswer:
    usual = {
        "workflow_name": "wf",
        "execution_id": "exec_1_00000001",
        "status": Status.RUNNING,
        "position": None,
        "progress": None,
        "start_time": datetime(2026, 1, 28, 6, 30, tzinfo=UTC),
        "end_time": None,
        "execution_time_seconds": None,
        "error_message": None,
        "metadata": None,
    }
    return StatusAnswer(**{**usual, **fields})


def shown(answer=None, workflow="wf") -> str:
    """Return what a notebook shows; nobody listens at that address."""
    return wildcast.Execution(Api("http://127.0.0.1:9"), workflow, "exec_1_00000001", answer)._repr_html_()


def test_an_execution_that_was_not_asked_for_says_so():
    """A repr asks no server."""
    assert "not asked for its status yet" in shown()
    assert repr(wildcast.Execution(Api("http://h"), "wf", "exec_1_0")) == "Execution('wf', 'exec_1_0')"


def test_a_notebook_shows_status_progress_times_and_labels():
    """What a person wants to see, as it was last known."""
    progress = {"progress": None, "current_step": 3, "total_steps": 6, "message": "month 3", "publication": UPLOAD}
    html = shown(
        answered(
            progress=progress,
            end_time=datetime(2026, 1, 28, 8, 31, tzinfo=timezone(timedelta(hours=2))),
            execution_time_seconds=60.04,
            metadata={"labels": {"project": "storms", "member": "1"}, "created_at": "2026-01-28T06:29:00Z"},
        )
    )
    for part in (
        "running, month 3",
        "<progress value='3' max='6'></progress> 3 of 6 steps",
        "<progress value='500' max='1000'></progress> 1 of 2 files, 500 B of 1.0 kB",
        "2026-01-28 06:29:00Z",
        "2026-01-28 06:30:00Z",
        "2026-01-28 06:31:00Z",
        "60.0 s",
        "project=storms, member=1",
    ):
        assert part in html, part
    assert "error" not in html


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED])
def test_what_was_removed_is_not_shown_as_published(status):
    """Of what was cancelled or has expired, no file is there any more."""
    answer = answered(status=status, progress={"current_step": 1, "total_steps": 2, "publication": UPLOAD})
    assert "files" not in shown(answer)
    assert "files" not in status_text(answer)
    assert "1 of 2 steps" in status_text(answer)


def test_a_terminal_and_a_notebook_say_the_same():
    """Name by name, from one place."""
    answer = answered(progress={"current_step": 3, "total_steps": 6, "publication": UPLOAD}, error_message="x")
    for name, text in described(answer):
        assert f">{name}</th>" in shown(answer)
        assert text in shown(answer)
        assert text in status_text(answer)


def test_a_failure_is_shown_with_its_reason():
    """In the colour of failures."""
    html = shown(answered(status=Status.FAILED, error_message="ValueError: x < 1"))
    assert "ValueError: x &lt; 1" in html
    assert "#c62828" in html


def test_whatever_was_written_by_others_is_escaped():
    """A workflow's message, a label, a name: none of them is markup."""
    evil = "<script>alert(1)</script>"
    html = shown(
        answered(
            status=Status.FAILED,
            error_message=evil,
            progress={"message": evil, evil: "x", "current_step": evil, "total_steps": 2},
            metadata={"labels": {evil: evil}, "created_at": evil},
        ),
        workflow=evil,
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5


@pytest.mark.parametrize("metadata", [{"labels": ["a"]}, {"labels": None, "created_at": 3}, {}], ids=str)
def test_what_another_server_calls_so_is_left_out(metadata):
    """Nothing about it breaks a notebook."""
    assert "labels" not in shown(answered(metadata=metadata, progress={"current_step": 1, "total_steps": 0}))


@pytest.fixture
def notebook(monkeypatch):
    """A kernel's IPython, as far as it can be seen from here."""
    module = ModuleType("IPython")
    module.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", module)
    return module


def test_a_bar_is_drawn_in_a_notebook(notebook, monkeypatch):
    """Where no terminal is, and as text where there are no widgets, without a warning about them."""
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    assert is_watched()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in [name for name in sys.modules if name.startswith("tqdm.a")]:
            monkeypatch.delitem(sys.modules, name)
        with DownloadBar("f", "auto") as bar:
            bar.begin(10)
        for name in [name for name in sys.modules if name.startswith("tqdm.a")]:
            monkeypatch.delitem(sys.modules, name)
        with ProgressBar("wf", "auto") as bar:
            bar.show(answered(progress={"current_step": 3, "total_steps": 6}))
    assert "3/6" in screen.getvalue()
    notebook.get_ipython = lambda: None
    assert not is_watched()
