"""Waking the threads of DBOS that poll queues: between two polls they wait for the event that ends them."""

import threading

QUEUE_THREADS = "queue-worker-"
"""What DBOS begins the names of the threads with that poll a queue; the queue's own name follows."""


class Wakeup:
    """Lets threads that poll queues poll now: their wait for an event ends early.

    It replaces the event's methods `wait` and `set`. Notifications are counted for each thread, since one that is
    polling at that moment does not wait: it polls once more.

    Parameters
    ----------
    stop
        The event; setting it ends every wait as before, also of who waited already.
    threads
        The names of those who are woken; all others wait their time.
    """

    def __init__(self, stop: threading.Event, threads: frozenset[str]) -> None:
        self._is_set, self._set = stop.is_set, stop.set
        self._threads = threads
        self._changed = threading.Condition()
        self._notified = 0
        self._heeded: dict[str, int] = {}
        stop.wait = self._wait  # type: ignore[method-assign]
        stop.set = self._end  # type: ignore[method-assign]

    def notify(self) -> None:
        """Wake them."""
        with self._changed:
            self._notified += 1
            self._changed.notify_all()

    def _wait(self, timeout: float | None = None) -> bool:
        name = threading.current_thread().name
        with self._changed:
            self._changed.wait_for(lambda: self._is_set() or self._is_due(name), timeout)
            self._heeded[name] = self._notified
        return self._is_set()

    def _is_due(self, name: str) -> bool:
        return name in self._threads and self._heeded.get(name, 0) != self._notified

    def _end(self) -> None:
        self._set()
        with self._changed:
            self._changed.notify_all()
