"""Waiting for what somebody has called off: a little, and then no more."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")

GRACE_SECONDS = 2.0
"""What a request in flight may take to end; one to a store that does not answer takes minutes."""

_LOOK_SECONDS = 0.2


class LeftError(Exception):
    """What was called off has not ended, and goes on by itself until it notices."""


def unless_left(work: Callable[[], Result], called_off: threading.Event, grace: float = GRACE_SECONDS) -> Result:
    """Do `work` in a thread of its own; return what it returns, or raise what it raises.

    Parameters
    ----------
    called_off
        Once it is set, nobody waits for the end longer than `grace` seconds.

    Raises
    ------
    LeftError
        If nobody waits any more.
    """
    end: Future[Result] = Future()
    threading.Thread(target=_do, args=(work, end), name="leaving", daemon=True).start()
    while not called_off.is_set():
        if wait([end], _LOOK_SECONDS).done:
            return end.result()
    if wait([end], grace).done:
        return end.result()
    raise LeftError


def _do(work: Callable[[], Result], end: Future[Result]) -> None:
    try:
        end.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told of it, whatever it is
        end.set_exception(error)
