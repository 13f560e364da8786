"""Waiting for what was called off: a little, and then no more."""

import threading
import time

import pytest

from wildcast_server.usecases.leaving import LeftError, unless_left


def test_what_it_returns_or_raises_is_passed_on():
    """Also a time-out of its own, which is none of ours."""
    assert unless_left(lambda: 7, threading.Event()) == 7
    with pytest.raises(TimeoutError, match="its own"):
        unless_left(lambda: (_ for _ in ()).throw(TimeoutError("its own")), threading.Event())


@pytest.mark.parametrize("seconds", [0.05, 0.35])
def test_it_is_waited_for_however_long_it_takes(seconds):
    """As long as nobody calls it off; and what ends within the grace has ended."""
    assert unless_left(lambda: time.sleep(seconds) or "slept", threading.Event()) == "slept"
    called_off = threading.Event()
    called_off.set()
    assert unless_left(lambda: time.sleep(seconds) or "slept", called_off, 5.0) == "slept"


def test_what_hangs_is_left_after_the_grace():
    """And goes on by itself."""
    called_off, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        called_off.set()
        goes_on.wait()
        ended.set()

    began = time.monotonic()
    with pytest.raises(LeftError):
        unless_left(hang, called_off, 0.1)
    assert time.monotonic() - began < 5
    goes_on.set()
    assert ended.wait(5)
