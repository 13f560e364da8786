"""Being told to stop, by a person or by a service manager."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from wildcast_server.errors import WildcastServerError


class StopRequestedError(WildcastServerError):
    """The service was told to stop before it was up."""


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set, in place of what they did before; call it in the main thread.

    After the first of them another SIGINT ends the process at once: who presses Ctrl-C twice does not want to wait for
    what is still being published. Nothing is lost, as after any other death.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
