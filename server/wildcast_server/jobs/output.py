"""What a workflow prints: line by line to the log, the last lines kept for the error of a process that dies."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

from wildcast_server.jobs.protocol import printable

KEPT_LINES = 20
MAX_LINE = 2_000
"""The longest line, in characters; a longer one is cut into several."""


class OutputPump:
    """Reads a process's output until its end, in a thread.

    Holds at most `KEPT_LINES` lines of `MAX_LINE` bytes, whatever is printed.

    Parameters
    ----------
    stream
        The read end of a pipe.
    logger
        Gets each line, at level `info`.
    label
        Says whose output it is at that moment.
    """

    def __init__(self, stream: IO[bytes], logger: logging.Logger, label: Callable[[], str]) -> None:
        self._stream = stream
        self._logger = logger
        self._label = label
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._thread = threading.Thread(target=self._read, name="workflow-output", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Begin anew: what was printed so far belongs to an earlier run."""
        self._last.clear()

    def last_lines(self) -> list[str]:
        """Return the last lines that were printed."""
        return list(self._last)

    def join(self, timeout: float) -> None:
        """Wait, up to `timeout` seconds, until everything is read."""
        self._thread.join(timeout)

    def _read(self) -> None:
        with self._stream:
            # readline with a limit: a gigabyte without a line break must not become one string.
            for line in iter(lambda: self._stream.readline(MAX_LINE), b""):
                self._take(line)

    def _take(self, line: bytes) -> None:
        text = printable(line.decode("utf-8", "backslashreplace").rstrip("\r\n"), MAX_LINE * 4)
        self._last.append(text)
        self._logger.info("%s: %s", self._label(), text, extra={"execution_id": self._label()})
