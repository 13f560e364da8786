"""Being told to stop, by a person or by a service manager."""

import signal
import socket
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

    A thread sets the event, told by the interpreter's own handler of signals. A handler in Python would run in the main
    thread alone, which waits in vain for a signal that the kernel has given to another thread, and which may hold the
    event's own lock.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    reading, writing = socket.socketpair()
    with reading:
        with writing:
            writing.settimeout(0)
            listener = threading.Thread(target=_listen, args=(reading, stop), name="signals", daemon=True)
            listener.start()
            told_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield stop
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(told_before)
        listener.join()


def _listen(reading: socket.socket, stop: threading.Event) -> None:
    if reading.recv(1):
        stop.set()
