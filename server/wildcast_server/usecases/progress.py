"""What an execution's status says of its progress: the workflow's own words, and how far publishing has come."""

import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from wildcast.contract.wire import TransferStatus
from wildcast_server.errors import WildcastServerError
from wildcast_server.transfer.files import TransferProgress

_log = logging.getLogger(__name__)

SAVE_SECONDS = 0.5
"""Between two records of how far publishing has come."""

PUBLICATION = "publication"

_STANDARD = dict.fromkeys(("progress", "current_step", "total_steps"))


class Progress:
    """Joins both and records them; a thread does it for the publication, which must not wait for a database.

    Parameters
    ----------
    save
        Records the whole; returns whether anybody still wants to know.
    before
        What was recorded before.
    """

    def __init__(self, save: Callable[[dict[str, Any]], bool], before: Mapping[str, Any] | None = None) -> None:
        self._save = save
        self._workflow = {name: value for name, value in (before or {}).items() if name != PUBLICATION}
        self._publication: TransferProgress | None = None
        self._saved: TransferProgress | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def workflow(self, progress: dict[str, Any]) -> bool:
        """Record what the workflow said; raises what recording raises."""
        with self._lock:
            self._workflow = progress
            return self._save(self._whole())

    def publication(self, progress: TransferProgress) -> None:
        """Take how far publishing has come."""
        self._publication = progress

    def end(self) -> dict[str, Any] | None:
        """Return the whole; None if nobody ever said anything."""
        return self._whole() or None

    def _whole(self) -> dict[str, Any]:
        told = self._publication
        if told is None:
            return self._workflow
        return {**_STANDARD, **self._workflow, PUBLICATION: msgspec.to_builtins(_status(told))}

    def _run(self) -> None:
        while not self._ending.wait(SAVE_SECONDS):
            latest = self._publication
            if latest is self._saved:
                continue
            self._saved = latest
            try:
                with self._lock:
                    self._save(self._whole())
            except WildcastServerError as error:
                _log.debug("how far publishing has come is not recorded: %s", error)


def _status(told: TransferProgress) -> TransferStatus:
    return TransferStatus(
        files_done=told.files_done,
        files_total=told.files_total,
        bytes_done=told.bytes_done,
        bytes_total=told.bytes_total,
        bytes_per_second=told.bytes_per_second,
        seconds_left=told.seconds_left,
    )
