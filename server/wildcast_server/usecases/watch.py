"""Watching what runs here: whether it is to be cancelled, has taken too long, or is somebody else's by now."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

from wildcast_server.errors import WildcastServerError
from wildcast_server.records import Records

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 0.5
"""Between two looks at the records."""


class Why(Enum):
    """Why something was interrupted."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    FENCED = "fenced"
    """It is another attempt's, or another worker's."""


@dataclass(eq=False)
class Watched:
    """An attempt that is watched."""

    execution_id: str
    attempt: int
    interrupt: Callable[[], object]
    on_partial: Callable[[], object]
    deadline: float | None = None
    why: Why | None = None
    """Why it was interrupted, if it was."""


class Watch:
    """A thread that asks the records about all that runs here at once, with one small query each time.

    Parameters
    ----------
    period
        In seconds.
    clock
        Counts seconds.
    """

    def __init__(
        self, records: Records, period: float = PERIOD_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._records = records
        self._period = period
        self._clock = clock
        self._watched: dict[int, Watched] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def add(
        self,
        execution_id: str,
        attempt: int,
        interrupt: Callable[[], object],
        on_partial: Callable[[], object] = lambda: None,
    ) -> Watched:
        """Watch an attempt until `remove`.

        Parameters
        ----------
        execution_id, attempt
            Which.
        interrupt
            Called once, in a thread of its own, when it is not to go on.
        on_partial
            Called at each look while somebody wants to read results before the end; it must not block.
        """
        watched = Watched(execution_id, attempt, interrupt, on_partial)
        with self._lock:
            self._watched[id(watched)] = watched
        return watched

    def limit(self, watched: Watched, seconds: float | None) -> None:
        """Interrupt it when so many seconds have gone by from now; None for never."""
        if seconds is not None:
            watched.deadline = self._clock() + seconds

    def remove(self, watched: Watched) -> Why | None:
        """Watch it no more; return why it was interrupted, if it was. Idempotent."""
        with self._lock:
            self._watched.pop(id(watched), None)
            return watched.why

    def look(self) -> None:
        """Look once at all that is watched."""
        with self._lock:
            watched = [each for each in self._watched.values() if each.why is None]
        if not watched:
            return
        now = self._clock()
        for each in watched:
            # Without a database, too.
            if each.deadline is not None and now >= each.deadline:
                self._interrupt(each, Why.TIMED_OUT)
        # Of an execution that was left alone and came back, the later attempt.
        attempts = {each.execution_id: each.attempt for each in watched}
        try:
            heeds = self._records.heed(attempts)
        except WildcastServerError as error:
            if not self._is_away:
                logger.warning("what runs here goes on, and cannot be cancelled until the records are back: %s", error)
            self._is_away = True
            return
        self._is_away = False
        for each in watched:
            heed = heeds.get(each.execution_id)
            if heed is None or not heed.is_current or each.attempt != attempts[each.execution_id]:
                self._interrupt(each, Why.FENCED)
            elif heed.cancel:
                self._interrupt(each, Why.CANCELLED)
            elif heed.partial:
                each.on_partial()

    def _interrupt(self, watched: Watched, why: Why) -> None:
        with self._lock:
            if watched.why is not None or id(watched) not in self._watched:
                return
            watched.why = why
        logger.info("%s is interrupted: %s", watched.execution_id, why.value)
        # It waits for the end of what it interrupts.
        threading.Thread(target=watched.interrupt, name=f"interrupt-{watched.execution_id}", daemon=True).start()

    def _run(self) -> None:
        while not self._ending.wait(self._period):
            try:
                self.look()
            except Exception:
                # Who watches must not end while there is something to watch.
                logger.exception("a look at what runs here failed")
