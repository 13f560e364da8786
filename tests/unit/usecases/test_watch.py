"""Watching what runs: cancels, time-outs, and attempts that are somebody else's by now."""

import threading

import pytest

from wildcast.contract.status import ExecutionStatus as Status
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.records import MemoryRecords
from wildcast_server.usecases.watch import Watch, Why

ID = "exec_1_00000001"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def watch(records, clock):
    """A watch that looks when it is told to."""
    return Watch(records, clock=clock)


class Attempt:
    """An attempt that is watched, and what says that it was interrupted."""

    def __init__(self, watch, attempt=1) -> None:
        self.interrupted = threading.Event()
        self._watch = watch
        self.watched = watch.add(ID, attempt, self.interrupted.set)

    def why(self):
        return self._watch.remove(self.watched)


def test_what_runs_as_it_should_is_left_alone(watch, bring_to):
    """Look after look."""
    bring_to(ID, Status.RUNNING)
    attempt = Attempt(watch)
    watch.look()
    watch.look()
    assert not attempt.interrupted.is_set()
    assert attempt.why() is None


def test_a_cancel_interrupts_once(watch, records, bring_to):
    """However often it is looked at, and the reason is told at the end."""
    bring_to(ID, Status.RUNNING)
    times = []
    watched = watch.add(ID, 1, lambda: times.append(threading.get_ident()))
    records.mark(ID, expected=Status.RUNNING, cancel=True)
    for _ in range(3):
        watch.look()
    assert watch.remove(watched) is Why.CANCELLED
    for thread in threading.enumerate():
        if thread.name.startswith("interrupt-"):
            thread.join(10)
    assert len(times) == 1
    assert times[0] != threading.get_ident()


@pytest.mark.parametrize("seconds", [5.0, None])
def test_a_time_out_counts_from_when_it_is_set(watch, clock, bring_to, seconds):
    """Not a moment earlier, and never where there is none."""
    bring_to(ID, Status.RUNNING)
    attempt = Attempt(watch)
    clock.now += 60
    watch.limit(attempt.watched, seconds)
    clock.now += 4.9
    watch.look()
    assert not attempt.interrupted.is_set()
    clock.now += 0.1
    watch.look()
    assert attempt.interrupted.wait(0 if seconds is None else 10) is (seconds is not None)
    assert attempt.why() is (None if seconds is None else Why.TIMED_OUT)


@pytest.mark.parametrize("change", ["another attempt", "ended"])
def test_what_is_somebody_elses_is_interrupted(watch, records, bring_to, change):
    """Nobody waits for what it computes."""
    bring_to(ID, Status.RUNNING)
    attempt = Attempt(watch)
    to, more = (Status.QUEUED, {"new_attempt": 2}) if change == "another attempt" else (Status.FAILED, {})
    records.change(ID, expected=Status.RUNNING, to=to, **more)
    watch.look()
    assert attempt.interrupted.wait(10)
    assert attempt.why() is Why.FENCED


class AwayRecords(MemoryRecords):
    """Records that cannot be reached."""

    def heed(self, attempts):
        del attempts
        raise ServiceUnavailableError("the database is away")


def test_without_the_records_only_time_outs_hold(clock, caplog):
    """It goes on, that is said once, and what takes too long is interrupted all the same."""
    watch = Watch(AwayRecords(), clock=clock)
    attempt = Attempt(watch)
    watch.limit(attempt.watched, 5.0)
    watch.look()
    watch.look()
    assert not attempt.interrupted.is_set()
    assert caplog.text.count("the database is away") == 1
    clock.now += 5
    watch.look()
    assert attempt.interrupted.wait(10)


def test_who_wants_to_read_early_is_told_on(watch, records, bring_to):
    """At every look while the workflow runs, since it may be heard late."""
    bring_to(ID, Status.RUNNING)
    asked = []
    watch.add(ID, 1, lambda: None, lambda: asked.append(True))
    watch.look()
    records.mark(ID, expected=Status.RUNNING, partial=True)
    watch.look()
    watch.look()
    assert asked == [True, True]


def test_its_thread_outlives_a_bug(records, bring_to, eventually, caplog):
    """What one look raises is logged, and the next one sees the cancel."""
    bring_to(ID, Status.RUNNING)
    with Watch(records, period=0.01) as watch:
        watch.add(ID, 1, lambda: None, lambda: 1 / 0)
        records.mark(ID, expected=Status.RUNNING, partial=True)
        eventually(lambda: "a look at what runs here failed" in caplog.text)
        attempt = Attempt(watch)
        records.mark(ID, expected=Status.RUNNING, cancel=True)
        assert attempt.interrupted.wait(10)


def test_who_was_left_alone_takes_nothing_from_who_came_after(watch, records, bring_to):
    """Of the attempt before a thread may still hang somewhere; its end is not the end of this one."""
    bring_to(ID, Status.RUNNING)
    before = Attempt(watch)
    records.change(ID, expected=Status.RUNNING, to=Status.QUEUED, new_attempt=2)
    records.change(ID, expected=Status.QUEUED, to=Status.RUNNING)
    now = Attempt(watch, 2)
    watch.look()
    assert before.interrupted.wait(10)
    assert not now.interrupted.is_set()
    assert before.why() is Why.FENCED
    assert before.why() is Why.FENCED
    records.mark(ID, expected=Status.RUNNING, cancel=True)
    watch.look()
    assert now.interrupted.wait(10)
    assert now.why() is Why.CANCELLED
