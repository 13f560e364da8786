"""What is done again and again beside the work itself, each pass in its own time."""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wildcast_server.errors import ServiceUnavailableError

logger = logging.getLogger(__name__)

JITTER = 0.1
"""By which part a pause is longer or shorter, so that many processes do not come at once."""


class Pass(NamedTuple):
    """Something that is done again and again."""

    name: str
    work: Callable[[], object]
    seconds: float
    """Between the end of one and the beginning of the next."""


class Maintenance:
    """Does passes, each in a thread of its own: one that takes long, or fails, delays no other.

    Parameters
    ----------
    passes
        Each begins at once.
    jitter
        As `JITTER`.
    """

    def __init__(self, passes: Sequence[Pass], *, jitter: float = JITTER) -> None:
        self._jitter = jitter
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(one,), name=f"maintenance-{one.name}", daemon=True)
            for one in passes
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Begin no pass any more, and wait a while for those that are going on."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(grace_seconds)

    def _repeat(self, one: Pass) -> None:
        while not self._stop.is_set():
            try:
                one.work()
            except ServiceUnavailableError as outage:
                # The heartbeat has told of it.
                logger.debug("%s waits: %s", one.name, outage)
            except Exception:
                logger.exception("%s failed, and is done again in %g seconds", one.name, one.seconds)
            self._stop.wait(one.seconds * random.uniform(1 - self._jitter, 1 + self._jitter))
