"""Jobs in threads of this process: nothing to install, and nothing survives a restart by itself."""

import logging
import queue
import threading
import time

from wildcast_server.errors import ServiceUnavailableError
from wildcast_server.jobs.base import Handler, JobEngine

logger = logging.getLogger(__name__)


class InProcessJobs(JobEngine):
    """A queue in memory, and a thread for each slot.

    What waits when the engine stops is forgotten here; the records still have it, and whoever starts the service
    enqueues it again.

    Parameters
    ----------
    slots
        How many executions are worked on at a time.
    """

    def __init__(self, slots: int = 1) -> None:
        if slots < 1:
            raise ValueError(f"an engine needs at least one slot, not {slots}")
        self._slots = slots
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def start(self, handler: Handler) -> None:
        """Begin to take work, once."""
        with self._lock:
            if self._threads or self._stopping.is_set():
                raise RuntimeError("an engine starts once")
            # Daemons: after the grace of `stop`, the interpreter may end although a handler still works.
            self._threads = [
                threading.Thread(target=self._work, args=(handler,), name=f"job-slot-{slot}", daemon=True)
                for slot in range(self._slots)
            ]
            for thread in self._threads:
                thread.start()

    def enqueue(self, execution_id: str) -> None:
        """Add an execution behind those that wait."""
        with self._lock:
            if self._stopping.is_set():
                raise ServiceUnavailableError("the server is stopping and takes no more work: submit again in a moment")
            self._waiting.put(execution_id)

    def check(self) -> None:
        """Return if the engine was started, is not stopping, and has lost none of its threads."""
        with self._lock:
            if self._stopping.is_set():
                raise ServiceUnavailableError("the job engine is stopping")
            if not self._threads:
                raise ServiceUnavailableError("the job engine has not been started yet")
            if dead := [thread.name for thread in self._threads if not thread.is_alive()]:
                raise ServiceUnavailableError(f"the job engine has lost {', '.join(dead)}: restart the service")

    def stop(self, grace_seconds: float) -> None:
        """Take no new work, and wait for what is being done; called from a handler, it waits for the others."""
        with self._lock:
            self._stopping.set()
            for _ in self._threads:
                self._waiting.put(None)
        deadline = time.monotonic() + grace_seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, handler: Handler) -> None:
        while True:
            execution_id = self._waiting.get()
            if execution_id is None or self._stopping.is_set():
                return
            try:
                handler(execution_id)
            except BaseException:
                # Even SystemExit: a slot that ends in silence is a server that takes work and never does it.
                logger.exception("%s: its handler failed", execution_id)
