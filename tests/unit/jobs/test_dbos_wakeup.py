"""Waking the threads of DBOS that poll queues."""

import threading
from queue import Queue

import pytest

from wildcast_server.jobs.dbos_wakeup import Wakeup

LONG = 60.0
NAMES = frozenset({"queue-worker-a", "queue-worker-b"})


class Sleeper:
    """A thread that waits for the event once for each time it is told to, and says what it was told."""

    def __init__(self, stop: threading.Event, name: str = "queue-worker-a", seconds: float = LONG) -> None:
        self.told: Queue[bool] = Queue()
        self.again = threading.Semaphore(1)
        self._stop, self._seconds = stop, seconds
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while self.again.acquire():
            self.told.put(self._stop.wait(self._seconds))

    def heard(self) -> bool:
        return self.told.get(timeout=10)


@pytest.fixture
def stop() -> threading.Event:
    """An event for which somebody waits."""
    return threading.Event()


def test_all_who_poll_are_woken(stop, eventually):
    """And are not told that the event is set."""
    wakeup = Wakeup(stop, NAMES)
    sleepers = [Sleeper(stop, name) for name in NAMES]
    eventually(lambda: len(wakeup._changed._waiters) == len(NAMES))
    wakeup.notify()
    assert [sleeper.heard() for sleeper in sleepers] == [False, False]


def test_who_was_busy_polls_once_more(stop, eventually):
    """Also before its first wait; and once, however often it was notified meanwhile."""
    wakeup = Wakeup(stop, NAMES)
    wakeup.notify()
    sleeper = Sleeper(stop)
    assert sleeper.heard() is False
    wakeup.notify()
    wakeup.notify()
    sleeper.again.release()
    assert sleeper.heard() is False
    sleeper.again.release()
    eventually(lambda: wakeup._changed._waiters)
    stop.set()
    assert sleeper.heard() is True


def test_others_wait_their_time(stop, eventually):
    """As the thread that looks for schedules once an hour."""
    wakeup = Wakeup(stop, NAMES)
    sleeper = Sleeper(stop, "scheduler")
    eventually(lambda: wakeup._changed._waiters)
    wakeup.notify()
    assert sleeper.told.empty()
    stop.set()
    assert sleeper.heard() is True


def test_an_end_is_heard_by_who_waited_before(stop, eventually):
    """The event itself still ends every wait."""
    sleeper = Sleeper(stop)
    eventually(lambda: stop._cond._waiters)
    Wakeup(stop, NAMES)
    stop.set()
    assert sleeper.heard() is True
    assert stop.wait(LONG)
