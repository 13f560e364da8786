"""Waking the threads of DBOS that look for jobs: between two looks they wait for the event that ends them."""

import threading


class Bell:
    """Makes the waiting for an event end early, for every thread that waits for it, whenever it is rung.

    Who does not wait at that moment hears it at its next wait.

    Parameters
    ----------
    stop
        The event; setting it ends the waiting as before. Who waits for it already does not hear the bell this time.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._is_set, self._set = stop.is_set, stop.set
        self._condition = threading.Condition()
        self._rings = 0
        self._heard = threading.local()
        stop.wait = self._wait  # type: ignore[method-assign]
        stop.set = self._end  # type: ignore[method-assign]

    def ring(self) -> None:
        """Let all who wait look now."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def _wait(self, timeout: float | None = None) -> bool:
        with self._condition:
            heard = getattr(self._heard, "rings", self._rings)
            self._condition.wait_for(lambda: self._is_set() or self._rings != heard, timeout)
            self._heard.rings = self._rings
        return self._is_set()

    def _end(self) -> None:
        self._set()
        with self._condition:
            self._condition.notify_all()
