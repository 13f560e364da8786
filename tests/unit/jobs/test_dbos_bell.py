"""The bell that ends the sleep of DBOS's threads."""

import threading
from queue import Queue

import pytest

from wildcast_server.jobs.dbos_bell import Bell

LONG = 60.0


class Sleeper:
    """A thread that waits for the event once for each time it is told to, and says what it was told."""

    def __init__(self, stop: threading.Event) -> None:
        self.told: Queue[bool] = Queue()
        self.again = threading.Semaphore(1)
        self._stop = stop
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while self.again.acquire():
            self.told.put(self._stop.wait(LONG))


@pytest.fixture
def stop() -> threading.Event:
    """An event for which somebody waits."""
    return threading.Event()


def heard(sleeper: Sleeper) -> bool:
    return sleeper.told.get(timeout=10)


def test_all_who_wait_hear_it(stop, eventually):
    """And are not told that the event is set."""
    bell = Bell(stop)
    sleepers = [Sleeper(stop) for _ in range(3)]
    eventually(lambda: len(bell._condition._waiters) == 3)
    bell.ring()
    assert [heard(sleeper) for sleeper in sleepers] == [False] * 3


def test_who_was_busy_hears_it_at_the_next_wait(stop, eventually):
    """Once, however often it rang."""
    bell = Bell(stop)
    sleeper = Sleeper(stop)
    eventually(lambda: bell._condition._waiters)
    bell.ring()
    assert heard(sleeper) is False
    bell.ring()
    bell.ring()
    sleeper.again.release()
    assert heard(sleeper) is False
    sleeper.again.release()
    eventually(lambda: bell._condition._waiters)
    stop.set()
    assert heard(sleeper) is True


def test_an_end_is_heard_by_who_waited_before(stop, eventually):
    """The event itself still ends every wait."""
    sleeper = Sleeper(stop)
    eventually(lambda: stop._cond._waiters)
    Bell(stop)
    stop.set()
    assert heard(sleeper) is True
    assert stop.wait(LONG)
