"""How long a runner's process may take to load something: an import or a constructor may wait for a server for ever."""

import threading
from types import TracebackType
from typing import Self

from wildcast_server.jobs.process import RunnerProcess

LOADING_SETTING = "workflows.loading_timeout"
"""What says how long a workflow may take that is to run, or to be warm."""


class LoadingLimit:
    """Kills a process that loads something for longer than it may, for as long as the context is open.

    It counts from `begin` on, and anew with each.

    Parameters
    ----------
    process
        Which.
    seconds
        How long each thing may take; None for any time.
    setting
        What says so, if an operator can change it.
    """

    def __init__(self, process: RunnerProcess, seconds: float | None, setting: str | None = None) -> None:
        self._process = process
        self._seconds = seconds
        self._setting = setting
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self.has_passed = False
        """Whether the process was killed for this."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def begin(self) -> None:
        """Count from now on, for the next thing that is loaded."""
        self.end()
        if self._seconds is None:
            return
        timer = threading.Timer(self._seconds, lambda: self._pass(timer))
        timer.daemon = True
        with self._lock:
            self._timer = timer
        timer.start()

    def end(self) -> None:
        """Count no longer: it is loaded."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def describe(self) -> str:
        """Say what became of the process that was killed, or has ended by itself."""
        if not self.has_passed:
            return self._process.describe_death()
        allowed = f", which is what {self._setting} allows" if self._setting else ""
        return f"took longer than {self._seconds:g} seconds{allowed}"

    def _pass(self, timer: threading.Timer) -> None:
        with self._lock:
            if self._timer is not timer:
                return
            self._timer, self.has_passed = None, True
        self._process.kill()
