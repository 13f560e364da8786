"""Heartbeats, and what is done about workers that are not heard of any more."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from wildcast_server.domain.worker import WorkerRow, WorkerState
from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs.base import Job
from wildcast_server.jobs.memory_jobs import MemoryJobs
from wildcast_server.records import MemoryRecords, memory_workers
from wildcast_server.usecases.workers import Heartbeats, Reaper, Strays, workers_by_queue

DEAD_AFTER = 15.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class TakenJobs(MemoryJobs):
    """Jobs in memory of which some are with workers of other processes."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[str, list[str]] = {}

    def held_by(self, executor_id: str) -> list[str]:
        return list(self.taken.get(executor_id, ()))

    def give_back(self, job_id: str, executor_id: str) -> bool:
        if job_id not in self.taken.get(executor_id, ()):
            return False
        self.taken[executor_id].remove(job_id)
        self.enqueue(Job(job_id, "compute", "compute", job_id.partition(".")[0], 1), None)
        return True


class AwayRecords(MemoryRecords):
    """Records that can be away."""

    is_away = False

    def beat(self, worker_id: str, token: str, state: WorkerState) -> bool:
        if self.is_away:
            raise ServiceUnavailableError("the records cannot be reached")
        return super().beat(worker_id, token, state)


@pytest.fixture
def clock():
    """Time, as the test moves it."""
    return Clock()


@pytest.fixture
def records(clock, monkeypatch):
    """Records on that clock."""
    monkeypatch.setattr(memory_workers, "utc_now", clock)
    return AwayRecords()


@pytest.fixture
def jobs():
    """Jobs of which `taken` says who has which."""
    return TakenJobs()


@pytest.fixture
def begin(records, clock):
    """Begin the heartbeats of a worker."""

    def begin_worker(worker_id: str, process: str = "1") -> Heartbeats:
        row = WorkerRow(
            id=worker_id, token=process, host="host", pid=1, instance="a", site="s", queues=("compute", "publish.s")
        )
        beats = Heartbeats(
            records, row, dead_after_seconds=DEAD_AFTER, on_lost=lambda: lost.append(worker_id), clock=clock.seconds
        )
        beats.begin()
        beats.lost = lost
        return beats

    lost: list[str] = []
    return begin_worker


@pytest.fixture
def reap(records, jobs):
    """Look for dead workers as another one would."""

    def look(beats: Heartbeats) -> None:
        Reaper(records, jobs, beats, DEAD_AFTER)()

    return look


def beat_for(clock: Clock, seconds: float, *beats: Heartbeats) -> None:
    for _ in range(int(seconds // 5)):
        clock.move(5)
        for each in beats:
            each()


def test_workers_are_counted_by_the_kind_of_their_queues():
    """Whatever their disks; who ends or is lost takes nothing."""

    def row(name: str, *queues: str, state: WorkerState = WorkerState.UP) -> WorkerRow:
        return WorkerRow(id=name, token="t", host="h", pid=1, instance="i", site="s", queues=queues, state=state)

    workers = [
        row("a", "compute", "publish.s"),
        row("b", "publish.s"),
        row("c", "publish.t"),
        row("d", "compute", state=WorkerState.DRAINING),
        row("e", "compute", state=WorkerState.LOST),
    ]
    assert workers_by_queue(workers) == {"compute": 1, "publish": 3}
    assert workers_by_queue([]) == {"compute": 0, "publish": 0}


def test_a_dead_workers_jobs_wait_again(begin, reap, jobs, clock, caplog):
    """Once it is silent for as long as it takes to be dead, and not before; the log says what goes where."""
    living, dead = begin("living"), begin("dead")
    jobs.taken["dead"] = ["exec_1.1", "exec_2.2"]
    beat_for(clock, 10, living, dead)
    beat_for(clock, 10, living)
    reap(living)
    assert jobs.held_by("dead") == ["exec_1.1", "exec_2.2"]
    beat_for(clock, 10, living)
    reap(living)
    assert jobs.held_by("dead") == []
    assert [job.id for job in jobs.waiting] == ["exec_1.1", "exec_2.2"]
    assert "the worker dead is gone; given to others: exec_1.1, exec_2.2" in caplog.messages
    assert dead.lost == []


def test_who_wakes_up_judges_nobody_before_its_own_beat(begin, reap, jobs, clock):
    """It has slept as long as the others have, and they may be up already."""
    one, two = begin("one"), begin("two")
    jobs.taken["two"] = ["exec_1.1"]
    beat_for(clock, 30, one, two)
    clock.move(3600)
    assert not one.are_steady
    reap(one)
    assert jobs.held_by("two") == ["exec_1.1"]


def test_a_worker_that_wakes_up_after_it_was_held_for_dead_ends(begin, reap, clock):
    """What it did belongs to others by now."""
    living, asleep = begin("living"), begin("asleep")
    beat_for(clock, 20, living)
    reap(living)
    assert asleep.lost == []
    asleep()
    assert asleep.lost == ["asleep"]


def test_nobody_is_held_for_dead_after_an_outage(begin, records, reap, jobs, clock, caplog):
    """All were silent, for as long as the records were away; whoever speaks first must not judge the others."""
    one, two = begin("one"), begin("two")
    jobs.taken["two"] = ["exec_1.1"]
    beat_for(clock, 20, one, two)
    records.is_away = True
    beat_for(clock, 60, one, two)
    # Each says it once.
    assert sum("cannot be reached" in message for message in caplog.messages) == 2
    records.is_away = False
    clock.move(5)
    one()
    assert "the records can be reached again" in caplog.messages
    reap(one)
    assert jobs.held_by("two") == ["exec_1.1"]
    two()
    beat_for(clock, 30, one, two)
    reap(one)
    assert one.lost == two.lost == []


def test_who_was_asleep_judges_nobody(begin, reap, jobs, clock):
    """After a suspended machine wakes up, all of its workers are overdue, and alive."""
    one = begin("one")
    begin("two")
    jobs.taken["two"] = ["exec_1.1"]
    beat_for(clock, 20, one)
    clock.move(3600)
    one()
    reap(one)
    assert jobs.held_by("two") == ["exec_1.1"]


def test_who_has_just_begun_judges_nobody(begin, reap, jobs, clock):
    """It may have begun right after an outage."""
    begin("old")
    jobs.taken["old"] = ["exec_1.1"]
    clock.move(60)
    new = begin("new")
    reap(new)
    assert jobs.held_by("old") == ["exec_1.1"]
    beat_for(clock, 15, new)
    reap(new)
    assert jobs.held_by("old") == []


def test_a_job_that_a_lost_worker_takes_after_that_is_given_back_as_well(begin, records, reap, jobs, clock):
    """A lost worker is remembered for a while: it may wake up, take something, and die for good."""
    living = begin("living")
    begin("lost")
    beat_for(clock, 20, living)
    reap(living)
    jobs.taken["lost"] = ["exec_9.1"]
    reap(living)
    assert jobs.held_by("lost") == []
    beat_for(clock, 3600, living)
    reap(living)
    assert [row.id for row in records.workers()] == ["living"]


def test_a_worker_that_starts_again_is_no_lost_one(begin, records, reap, jobs, clock):
    """What it had it takes up itself."""
    living = begin("living")
    begin("again", "1")
    beat_for(clock, 20, living)
    reap(living)
    again = begin("again", "2")
    jobs.taken["again"] = ["exec_1.1"]
    beat_for(clock, 3600, living, again)
    reap(living)
    assert jobs.held_by("again") == ["exec_1.1"]
    assert {row.id: row.state for row in records.workers()} == {"living": WorkerState.UP, "again": WorkerState.UP}


def test_a_worker_that_was_replaced_ends(begin, clock):
    """Two processes under one id are one too many."""
    first = begin("one", "1")
    begin("one", "2")
    clock.move(5)
    first()
    assert first.lost == ["one"]


def test_a_worker_that_ends_in_order_is_gone(begin, records):
    """First it says that it takes no more; at its end there is nothing to be taken over."""
    beats = begin("one")
    beats.drain()
    assert [row.state for row in records.workers()] == [WorkerState.DRAINING]
    beats.end()
    assert records.workers() == []


class StrayingWorker(MemoryJobs):
    """A worker with jobs that nobody in it works on."""

    def __init__(self, strayed: set[str]) -> None:
        super().__init__()
        self._strayed = strayed

    def strayed(self) -> set[str]:
        return self._strayed


def test_what_strays_is_given_back_when_it_is_seen_twice(jobs, caplog):
    """The first time it may be about to be worked on."""
    caplog.set_level(logging.INFO)
    jobs.taken["me"] = ["exec_1.1"]
    look = Strays(jobs, StrayingWorker({"exec_1.1"}), "me")
    look()
    assert jobs.held_by("me") == ["exec_1.1"]
    look()
    assert jobs.held_by("me") == []
    assert "exec_1.1 was taken and not worked on: it waits again" in caplog.messages


def test_what_a_worker_took_as_it_left_waits_again(begin, reap, jobs, clock):
    """It has said that it holds nothing, and its engine took a job in that moment."""
    living, leaving = begin("living"), begin("leaving")
    beat_for(clock, 20, living, leaving)
    leaving.end()
    jobs.taken["leaving"] = ["exec_1.1"]
    beat_for(clock, 5, living)
    reap(living)
    assert jobs.held_by("leaving") == []
    assert [job.id for job in jobs.waiting] == ["exec_1.1"]
