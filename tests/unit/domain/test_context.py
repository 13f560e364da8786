"""The run context."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildcast_server import ExecutionCancelledError, RunContext


def reporting(tmp_path):
    sent = []
    return RunContext("exec_1_00000000", tmp_path, on_progress=sent.append), sent


def test_steps_give_the_fraction(tmp_path):
    """The fraction follows from the steps."""
    context, sent = reporting(tmp_path)
    context.progress(1, 4)
    assert sent == [{"current_step": 1, "total_steps": 4, "progress": 0.25}]


def test_what_was_reported_stays(tmp_path):
    """A later report changes only what it gives."""
    context, sent = reporting(tmp_path)
    context.progress(1, 4, variable="t2m")
    context.progress(2)
    assert sent[-1] == {"current_step": 2, "total_steps": 4, "progress": 0.5, "variable": "t2m"}


@given(current=st.integers(0, 10**30), total=st.integers(0, 10**30))
def test_the_fraction_is_one_or_none(tmp_path_factory, current, total):
    """Whatever the steps are, the fraction lies in 0 … 1, and there is none of nothing."""
    context, sent = reporting(tmp_path_factory.getbasetemp())
    context.progress(current, total)
    fraction = sent[0]["progress"]
    assert fraction is None if total == 0 else 0 <= fraction <= 1


def test_progress_may_be_words(tmp_path):
    """Where no fraction is known, a few words do."""
    context, sent = reporting(tmp_path)
    context.progress(progress="loading the model")
    assert sent == [{"progress": "loading the model"}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"x", "\ud800"])
def test_a_value_that_is_not_json_is_the_workflows_error(tmp_path, value):
    """A value that JSON has not is refused where it is given, and named."""
    context, sent = reporting(tmp_path)
    with pytest.raises((TypeError, ValueError), match="'loss' is not JSON"):
        context.progress(1, 2, loss=value)
    assert sent == []


@pytest.mark.parametrize(("steps", "kind"), [((-1, 2), ValueError), ((1.5, 2), TypeError), (("1", 2), TypeError)])
def test_steps_are_whole_numbers(tmp_path, steps, kind):
    """A step that is negative or no whole number is refused."""
    context, _ = reporting(tmp_path)
    with pytest.raises(kind, match="current_step"):
        context.progress(*steps)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_lies_between_nothing_and_all(tmp_path, fraction):
    """A fraction outside 0 … 1 is refused."""
    context, _ = reporting(tmp_path)
    with pytest.raises(ValueError, match="fraction"):
        context.progress(progress=fraction)


def test_a_huge_progress_is_refused(tmp_path):
    """Progress is not a way to hand out results."""
    context, _ = reporting(tmp_path)
    with pytest.raises(ValueError, match="65536"):
        context.progress(field="x" * 70_000)


def test_what_was_sent_does_not_change(tmp_path):
    """A list that the workflow goes on to change does not change what it has reported."""
    context, sent = reporting(tmp_path)
    losses = [1.0]
    context.progress(losses=losses)
    losses.append(2.0)
    assert sent == [{"losses": [1.0]}]


def test_cancellation_is_seen(tmp_path):
    """`cancelled` and `check_cancelled` follow what was handed in."""
    told = threading.Event()
    context = RunContext("exec_1_00000000", tmp_path, is_cancelled=told.is_set)
    context.check_cancelled()
    told.set()
    assert context.cancelled
    with pytest.raises(ExecutionCancelledError, match="exec_1_00000000"):
        context.check_cancelled()


def test_a_notebook_needs_no_collaborators(tmp_path):
    """A context of an id and a directory alone works."""
    context = RunContext("exec_1_00000000", tmp_path)
    context.progress(1, 2)
    context.logger.debug("nothing to see")
    assert not context.cancelled


def test_a_device_can_be_told(tmp_path):
    """It is none until the workflow says, and the last word counts."""
    context = RunContext("exec_1_00000000", tmp_path)
    assert context.device is None
    context.device = "cuda:0"
    context.device = "cuda:1 (Grünes Board)"
    assert context.device == "cuda:1 (Grünes Board)"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", ValueError),
        ("  ", ValueError),
        ("x" * 201, ValueError),
        ("a\nb", ValueError),
        ("\udcff", ValueError),
        (0, TypeError),
        (None, TypeError),
    ],
)
def test_what_is_no_name_of_a_device_is_refused(tmp_path, name, error):
    """What cannot be shown in one line is an error of the workflow, and what was told before stands."""
    context = RunContext("exec_1_00000000", tmp_path)
    context.device = "cpu"
    with pytest.raises(error, match="device"):
        context.device = name
    assert context.device == "cpu"


def test_a_field_may_be_called_self(tmp_path):
    """A workflow's own fields have any names."""
    seen = []
    RunContext("exec_1_00000000", tmp_path, on_progress=seen.append).progress(self=1)
    assert seen == [{"self": 1}]
