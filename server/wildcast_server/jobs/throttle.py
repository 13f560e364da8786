"""Progress that comes by the thousand, sent a few times a second."""

import threading
from collections.abc import Callable
from typing import Any

INTERVAL_SECONDS = 0.1


class LatestSender:
    """Sends the newest value, at most every `interval` seconds; the last one always arrives.

    Each value stands for all before it, so those between two sendings are dropped.
    """

    def __init__(self, send: Callable[[Any], None], interval: float = INTERVAL_SECONDS) -> None:
        self._send = send
        self._interval = interval
        self._changed = threading.Condition()
        self._pending: list[Any] = []
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, value: Any) -> None:
        """Send `value`, now or soon, unless a newer one comes first."""
        with self._changed:
            if self._closed:
                return
            self._pending = [value]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="progress", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Send what is pending; nothing is sent after that."""
        with self._changed:
            self._closed = True
            self._flush()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        with self._changed:
            while not self._closed:
                self._flush()
                self._changed.wait_for(lambda: self._closed, self._interval)
                self._changed.wait_for(lambda: self._closed or self._pending)

    def _flush(self) -> None:
        # Within the lock, so that an older value never follows a newer one.
        if self._pending:
            self._send(self._pending.pop())
