"""The in-process engine."""

import threading
import time

import pytest

from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs import InProcessJobs

TIMEOUT = 20.0


@pytest.fixture
def engine():
    """Make an engine of one slot, stopped at the end."""
    made = InProcessJobs()
    yield made
    made.stop(TIMEOUT)


def test_work_is_done_in_order(engine, eventually):
    """What was enqueued, before the start or after, is handled first come, first served."""
    done = []
    engine.enqueue("a")
    engine.start(done.append)
    engine.enqueue("b")
    eventually(lambda: done == ["a", "b"])


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_handler_that_raises_ends_nothing(engine, caplog, error, eventually):
    """The exception is logged with the execution's id, and the next execution is handled."""
    done = []

    def handle(execution_id):
        if execution_id == "bad":
            raise error
        done.append(execution_id)

    engine.start(handle)
    engine.enqueue("bad")
    engine.enqueue("good")
    eventually(lambda: done == ["good"])
    assert "bad: its handler failed" in caplog.text


def test_slots_work_at_the_same_time(eventually):
    """Two slots hold two executions at once, and not three."""
    engine = InProcessJobs(slots=2)
    meeting = threading.Barrier(2)
    active, most = [], []

    def handle(execution_id):
        active.append(execution_id)
        most.append(len(active))
        meeting.wait(TIMEOUT)
        active.remove(execution_id)

    engine.start(handle)
    for name in "abcd":
        engine.enqueue(name)
    eventually(lambda: len(most) == 4 and not active)
    engine.stop(TIMEOUT)
    assert max(most) == 2


def test_stopping_waits_for_what_is_done_and_takes_nothing_new():
    """The execution in hand ends, one that waits is not begun, and no more is accepted."""
    engine = InProcessJobs()
    begun, release, ended = threading.Event(), threading.Event(), []

    def handle(execution_id):
        begun.set()
        release.wait(TIMEOUT)
        ended.append(execution_id)

    engine.start(handle)
    engine.enqueue("a")
    engine.enqueue("b")
    assert begun.wait(TIMEOUT)
    threading.Timer(0.05, release.set).start()
    engine.stop(TIMEOUT)
    assert ended == ["a"]
    with pytest.raises(ServiceUnavailableError, match="stopping"):
        engine.enqueue("c")


def test_stopping_returns_after_the_grace():
    """A handler that does not end does not hold the stop up."""
    engine = InProcessJobs()
    begun, release = threading.Event(), threading.Event()

    def handle(_):
        begun.set()
        release.wait(TIMEOUT)

    engine.start(handle)
    engine.enqueue("a")
    assert begun.wait(TIMEOUT)
    began = time.monotonic()
    engine.stop(0.05)
    assert time.monotonic() - began < TIMEOUT / 2
    release.set()
    engine.stop(TIMEOUT)


def test_an_engine_starts_once(engine):
    """A second start would work on everything twice."""
    engine.start(lambda _: None)
    with pytest.raises(RuntimeError, match="once"):
        engine.start(lambda _: None)


def test_an_engine_needs_a_slot():
    """Without a slot everything would wait for ever."""
    with pytest.raises(ValueError, match="slot"):
        InProcessJobs(slots=0)
