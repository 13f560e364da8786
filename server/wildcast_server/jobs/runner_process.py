"""The child process of a runner: ``python -m wildcast_server.jobs.runner_process <descriptor of a socket>``.

The worker's first message says what it does: host workflows, or only try to import their files.

Workflows run in the main thread, where signal handlers and many libraries expect to be; another thread listens.
"""

import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
from io import TextIOWrapper

from wildcast_server.jobs import protocol
from wildcast_server.jobs.guard import kill_own_group, start_guard
from wildcast_server.jobs.host import Host, probe

Job = tuple[protocol.Run, threading.Event]


class Listener:
    """Receives what the worker says, in a thread; when the worker is gone, so is this process and its group."""

    def __init__(self, channel: protocol.Channel) -> None:
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._messages = channel.to_process()
        self._cancelled: dict[int, threading.Event] = {}

    def first(self) -> protocol.Load | protocol.Probe:
        """Return the first message."""
        first = next(self._messages, None)
        if isinstance(first, protocol.Load | protocol.Probe):
            return first
        raise SystemExit("the worker is gone, or this is not its socket")

    def start(self) -> None:
        """Listen from now on."""
        threading.Thread(target=self._listen, name="runner-listener", daemon=True).start()

    def forget(self, run: int) -> None:
        """Drop the cancellation of a run that has ended."""
        self._cancelled.pop(run, None)

    def _listen(self) -> None:
        for message in self._messages:
            match message:
                case protocol.Run():
                    event = self._cancelled.setdefault(message.run, threading.Event())
                    self.jobs.put((message, event))
                case protocol.Cancel():
                    # It may overtake the run.
                    self._cancelled.setdefault(message.run, threading.Event()).set()
                case protocol.Exit():
                    self.jobs.put(None)
        kill_own_group()


def leave_stopping_to_the_worker() -> None:
    """Take no notice of SIGTERM in this process; what it forks or starts ends by it as anywhere.

    A service manager that signals a whole control group (systemd does) would kill a workflow that the worker is about
    to interrupt in order. A handler and not SIG_IGN, which started programs would inherit. A fork has the signal held
    back until its handler is the default one again, or one that comes in between would be lost.
    """
    numbers = {signal.SIGTERM}

    def as_anywhere() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers),
        after_in_child=as_anywhere,
    )


def main() -> None:
    """Host workflows until the worker says `Exit` or is gone."""
    descriptor = int(sys.argv[1])
    # What the workflows start must not hold the socket open.
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's signature
    start_guard(descriptor)
    leave_stopping_to_the_worker()
    faulthandler.enable(all_threads=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    channel = protocol.Channel(socket.socket(fileno=descriptor))
    listener = Listener(channel)
    first = listener.first()
    listener.start()
    if isinstance(first, protocol.Probe):
        probe(first, channel)
        return
    host = Host(first, channel)
    host.warm_up()
    while (job := listener.jobs.get()) is not None:
        request, cancelled = job
        host.run(request, cancelled)
        listener.forget(request.run)


if __name__ == "__main__":
    main()
