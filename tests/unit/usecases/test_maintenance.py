"""Doing things again and again."""

import logging
import threading

from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.usecases.maintenance import Maintenance, Pass


class Counted:
    """Work that counts how often it was done, and then raises what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.times = threading.Semaphore(0)

    def __call__(self) -> None:
        self.times.release()
        if self.error is not None:
            raise self.error

    def was_done(self, times: int) -> bool:
        return all(self.times.acquire(timeout=10) for _ in range(times))


def test_each_pass_is_done_again_and_again():
    """The first time at once; after the stop no more."""
    work = Counted()
    maintenance = Maintenance([Pass("one", work, 0.01)])
    maintenance.start()
    assert work.was_done(3)
    maintenance.stop(10)
    while work.times.acquire(blocking=False):
        pass
    assert not work.times.acquire(timeout=0.1)


def test_a_pass_that_hangs_delays_no_other():
    """Heartbeats go on while an upload is removed that takes its time."""
    go = threading.Event()
    other = Counted()
    maintenance = Maintenance([Pass("slow", go.wait, 0.01), Pass("beat", other, 0.01)])
    maintenance.start()
    assert other.was_done(3)
    go.set()
    maintenance.stop(10)


def test_a_pass_that_fails_is_done_again(caplog):
    """Its error is in the log."""
    work = Counted(OSError("no disk"))
    maintenance = Maintenance([Pass("remove", work, 0.01)])
    maintenance.start()
    assert work.was_done(2)
    maintenance.stop(10)
    assert "remove failed, and is done again in 0.01 seconds" in caplog.text
    assert "no disk" in caplog.text


def test_an_outage_is_not_told_by_every_pass(caplog):
    """The heartbeat tells it once; a log full of tracebacks would hide the rest."""
    caplog.set_level(logging.INFO)
    work = Counted(ServiceUnavailableError("the records cannot be reached"))
    maintenance = Maintenance([Pass("expire", work, 0.01)])
    maintenance.start()
    assert work.was_done(3)
    maintenance.stop(10)
    assert caplog.text == ""


def test_stopping_does_not_wait_for_the_next_time():
    """A pass that comes once an hour holds up nobody."""
    work = Counted()
    maintenance = Maintenance([Pass("prune", work, 3600)])
    maintenance.start()
    assert work.was_done(1)
    maintenance.stop(30)
    assert not any(thread.name == "maintenance-prune" for thread in threading.enumerate())
