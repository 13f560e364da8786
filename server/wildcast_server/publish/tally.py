"""The progress of a whole publication, of which a transfer moves a part."""

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from wildcast_server.publish.output import Output
from wildcast_server.transfer.files import LocalFile, ProgressCallback, StoredFile, TransferProgress

_TELL_SECONDS = 0.1


class Sent:
    """Counts what one publication sends, live and at its end, and what it need not send.

    Parameters
    ----------
    observer
        Who is told, now and then and at the end; None for nobody.
    """

    def __init__(self, observer: ProgressCallback | None) -> None:
        self._observer = observer
        self._lock = Lock()
        self._files = self._bytes = self._skipped = 0
        self._told = 0.0

    def add(self, files: int, size: int, *, skipped: bool = False) -> None:
        """Count files; threads may call it."""
        if self._observer is None:
            return
        with self._lock:
            self._files += files
            self._bytes += size
            self._skipped += size if skipped else 0
            if time.monotonic() - self._told < _TELL_SECONDS:
                return
        self.tell()

    def tell(self) -> None:
        """Tell the observer what was counted so far."""
        if self._observer is not None:
            with self._lock:
                self._observer(TransferProgress(self._files, self._files, self._bytes, self._bytes, self._skipped))
                self._told = time.monotonic()


class Overall:
    """Makes the progress of one transfer after the other that of all files together.

    Parameters
    ----------
    output
        All that is published.
    held
        What need not be sent.
    on_progress
        Who is told; None for nobody.
    stopwatch
        Counts seconds.
    """

    def __init__(
        self,
        output: Output,
        held: Mapping[str, StoredFile],
        on_progress: ProgressCallback | None,
        stopwatch: Callable[[], float],
    ) -> None:
        self._on_progress = on_progress
        self._stopwatch = stopwatch
        self._began = stopwatch()
        self._files_total, self._bytes_total = output.number, output.bytes
        self._files, self._skipped = len(held), sum(file.size for file in held.values())
        self._bytes = self._skipped
        if held:
            self._tell(self._files, self._bytes)

    def of(self, files: Sequence[LocalFile]) -> ProgressCallback | None:
        """Return what the transfer of `files`, the next one, is to tell."""
        before_files, before_bytes = self._files, self._bytes
        self._files += len(files)
        self._bytes += sum(file.size for file in files)
        if self._on_progress is None:
            return None

        def told(progress: TransferProgress) -> None:
            self._tell(before_files + progress.files_done, before_bytes + progress.bytes_done)

        return told

    def _tell(self, files: int, size: int) -> None:
        if self._on_progress is not None:
            self._on_progress(
                TransferProgress(
                    files_done=files,
                    files_total=self._files_total,
                    bytes_done=size,
                    bytes_total=self._bytes_total,
                    bytes_skipped=self._skipped,
                    seconds=self._stopwatch() - self._began,
                )
            )
