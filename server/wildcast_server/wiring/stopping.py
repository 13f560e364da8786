"""Being told to stop, by a person or by a service manager."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from wildcast_server.errors import WildcastServerError

LOOK_SECONDS = 0.5
"""How often a main thread that waits comes round, and so sees a signal that another thread was given."""


class StopRequestedError(WildcastServerError):
    """The service was told to stop before it was up."""


class _StopEvent(threading.Event):
    """An event that a handler of signals sets.

    Python runs handlers in the main thread, and only when that comes round: if the kernel gives the signal to another
    thread, as it may, a main thread that waits without a limit is not woken, and the signal does nothing.
    """

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            return super().wait(timeout)
        while not super().wait(LOOK_SECONDS):
            pass
        return True


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set, in place of what they did before; call it in the main thread.

    After the first of them another SIGINT ends the process at once: who presses Ctrl-C twice does not want to wait for
    what is still being published. Nothing is lost, as after any other death.
    """
    stop = _StopEvent()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
