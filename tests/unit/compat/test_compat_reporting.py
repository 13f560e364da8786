"""What a workflow reports in Earth2Studio's words is what readers of its progress see."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from wildcast_server.compat.models import WorkflowProgress
from wildcast_server.compat.reporting import Running
from wildcast_server.domain.context import RunContext
from wildcast_server.errors import ExecutionCancelledError


class Volume(WorkflowProgress):
    """A progress with a field of its own."""

    gigabytes: float = 0.5


@pytest.fixture
def reported():
    """All progress so far."""
    return []


@pytest.fixture
def running(reported):
    """A run that goes on."""
    return Running(RunContext("exec_1_00000000", Path("unused"), on_progress=reported.append))


def test_progress_adds_to_progress(running, reported):
    """Fields that an update does not name keep their values: the words stay when only the step moves on."""
    running.report(WorkflowProgress(progress="Computing", current_step=0, total_steps=4))
    running.report(WorkflowProgress(current_step=2))
    assert reported[-1] == {"progress": "Computing", "current_step": 2, "total_steps": 4}


def test_steps_without_words_are_a_fraction(running, reported):
    """A workflow that never says anything in words has its fraction as progress."""
    running.report(WorkflowProgress(current_step=1, total_steps=4))
    assert reported[-1]["progress"] == 0.25


def test_fields_of_their_own_are_kept(running, reported):
    """A derived progress shows all of its fields, beside an error message."""
    running.report(Volume(progress="Failed!", error_message="no GPU", gigabytes=2))
    assert reported[-1] == {"progress": "Failed!", "error_message": "no GPU", "gigabytes": 2.0}


@pytest.mark.parametrize(
    "progress", [{"progress": "x", "current_step": 1}, WorkflowProgress(progress="x", current_step=1)]
)
def test_a_mapping_may_hold_progress(running, reported, progress):
    """`progress` in a mapping is a progress, given as a mapping or as a model."""
    running.report({"progress": progress})
    assert reported[-1] == {"progress": "x", "current_step": 1}


def test_a_mapping_may_hold_words(running, reported):
    """`progress` in a mapping may be the words alone."""
    running.report({"progress": "nearly there"})
    assert reported[-1] == {"progress": "nearly there"}


def test_metadata_is_kept_beside_progress(running, reported):
    """Metadata stays when progress is reported, and is replaced by newer metadata."""
    running.report({"metadata": {"summary": "", "count": 1}})
    running.report(WorkflowProgress(progress="x"))
    running.report({"metadata": {"summary": "done"}})
    assert reported[-1] == {"progress": "x", "metadata": {"summary": "done"}}


def test_what_the_system_keeps_is_not_changed(running, reported):
    """A workflow cannot report another status, or times."""
    running.report({"status": "completed", "start_time": "never", "execution_id": "x", "metadata": {}})
    assert reported == [{"metadata": {}}]


def test_values_take_a_form_in_json(running, reported):
    """Times, durations, paths and NumPy's values can be reported; NaN is null."""
    running.report(
        {
            "metadata": {
                "at": datetime(2024, 1, 1),  # noqa: DTZ001 - as workflows have them
                "every": timedelta(hours=6),
                "path": Path("a"),
                "loss": float("nan"),
                "number": np.float32(2),
                "array": np.arange(2),
            }
        }
    )
    assert reported[-1]["metadata"] == {
        "at": "2024-01-01T00:00:00",
        "every": 21600.0,
        "path": "a",
        "loss": None,
        "number": 2.0,
        "array": [0, 1],
    }


def test_other_values_are_refused(running, reported):
    """What has no form in JSON is an error that says which type it is; what was reported before stands."""
    running.report(WorkflowProgress(progress="x"))
    with pytest.raises(TypeError, match="of the type 'object' cannot be reported"):
        running.report({"metadata": object()})
    assert reported == [{"progress": "x"}]


def test_a_cancelled_run_ends_at_its_next_report(reported):
    """These workflows cannot ask whether they were told to stop; reporting tells them."""
    context = RunContext("exec_1_00000000", Path("unused"), on_progress=reported.append, is_cancelled=lambda: True)
    with pytest.raises(ExecutionCancelledError):
        Running(context).report(WorkflowProgress(progress="x"))
    assert reported == []
