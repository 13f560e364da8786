"""Live publishing: upload what has settled while a workflow still computes."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from wildcast_server.errors import ExecutionCancelledError, FileChangedError, WildcastServerError
from wildcast_server.publish.partial import Partial
from wildcast_server.publish.settling import Settling
from wildcast_server.transfer.files import LocalFile, ProgressCallback, TransferProgress

_log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""Between two looks at the directory, at least."""

_LOOK_SHARE = 5
"""Looking takes at most about one in so many seconds of a processor, however many files there are."""

_LONGEST_PAUSE = 5.0

AFTER_FAILURE_SECONDS = 15.0
"""Before a store that failed is tried again, gently; the end of the workflow does not wait for that."""

ABORT_SECONDS = 1.0
"""How long requests in flight are waited for when nobody will read what they store."""

_TELL_SECONDS = 0.5

_BATCH_FILES = 512
_BATCH_BYTES = 64 << 20

UploadFiles = Callable[[Sequence[LocalFile], Callable[[], None]], object]
"""Uploads files and records them; calls the other thing often, which may end it by raising."""


class _Ended(Exception):  # noqa: N818 - no error: the workflow has come to its end
    pass


class LiveUploads:
    """A thread that uploads what has settled in a directory, from `__enter__` to `__exit__`.

    It may be wrong about what has settled, and whatever fails is left to the final upload: that compares every file
    with what was uploaded of it. When it is told to end, what is in flight comes to its end: small files within a
    request's time; of a large file all parts, which would be sent anyhow. If an `ExecutionCancelledError` ends the
    context, requests that a store does not answer are left alone after `ABORT_SECONDS`.

    Parameters
    ----------
    directory
        Need not be there yet.
    upload
        How files are uploaded.
    is_uploaded
        Whether a file as it is now was uploaded already.
    partial
        Shows what was uploaded to whoever wants to read it before the end, and says what may be uploaded then.
    group
        Returns the process group of those who write.
    on_progress
        Told what was uploaded, of what was seen so far.
    """

    def __init__(
        self,
        directory: Path,
        upload: UploadFiles,
        is_uploaded: Callable[[LocalFile], bool],
        partial: Partial,
        group: Callable[[], int | None],
        on_progress: ProgressCallback | None,
    ) -> None:
        self._settling = Settling(directory)
        self._upload = upload
        self._is_uploaded = is_uploaded
        self._partial = partial
        self._group = group
        self._on_progress = on_progress
        self._ending = threading.Event()
        self._aborting = self._is_news = False
        self._warned = False
        self._began = self._told = 0.0
        self._thread = threading.Thread(target=self._run, name="publish-live", daemon=True)

    def __enter__(self) -> Self:
        if Settling.is_possible():
            self._began = time.monotonic()
            self._thread.start()
        else:
            _log.info("nothing is published while workflows compute: this system does not tell who writes a file")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._aborting = kind is not None
        self._ending.set()
        is_cancelled = kind is not None and issubclass(kind, ExecutionCancelledError)
        if self._thread.ident is not None:
            # Where the execution may be tried again, nothing may be written when this has ended.
            self._thread.join(ABORT_SECONDS if is_cancelled else None)

    def _run(self) -> None:
        with closing(self._settling):
            self._look_and_send()

    def _look_and_send(self) -> None:
        pause = LOOK_SECONDS
        while not self._ending.wait(pause):
            began, used = time.monotonic(), time.thread_time()
            try:
                settled = self._settling.look(self._group())
                # A slow disk has its rest as well; that a busy machine lets us wait is no reason to wait longer.
                took, used = time.monotonic() - began, time.thread_time() - used
                pause = min(max(LOOK_SECONDS, took, _LOOK_SHARE * used), _LONGEST_PAUSE)
                for batch in _batches([file for file in settled if self._is_to_be_sent(file)]):
                    self._send(batch)
                self._partial.show(self._settling.seen)
                self._tell()
                pause = max(0.0, pause - (time.monotonic() - began))
            except _Ended:
                return
            except (WildcastServerError, OSError) as error:
                pause = self._take(error)
            except Exception:  # noqa: BLE001 - whatever it was
                # The computation is worth more than uploading early; the final upload decides.
                _log.exception("nothing more is published before the workflow ends")
                return

    def _take(self, error: Exception) -> float:
        """Tell of a failure, once, and return for how many seconds to pause."""
        if isinstance(error, FileChangedError):
            return LOOK_SECONDS
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        _log.log(level, "publishing while the workflow computes is interrupted and tried again: %s", error)
        return AFTER_FAILURE_SECONDS

    def _send(self, files: Sequence[LocalFile]) -> None:
        if self._ending.is_set():
            raise _Ended
        may_be_cut = len(files) > 1

        def go_on() -> None:
            if self._aborting or (may_be_cut and self._ending.is_set()):
                raise _Ended

        self._upload(files, go_on)
        for file in files:
            self._settling.uploaded(file.path)
        self._partial.show(self._settling.seen)
        self._is_news = True
        self._tell()

    def _is_to_be_sent(self, file: LocalFile) -> bool:
        return not self._is_uploaded(file) and self._partial.may_send(file)

    def _tell(self) -> None:
        now = time.monotonic()
        if self._on_progress is None or not self._is_news or now - self._told < _TELL_SECONDS:
            return
        self._told, self._is_news = now, False
        seen = self._settling.seen
        done = [file for file in seen.values() if self._is_uploaded(file)]
        self._on_progress(
            TransferProgress(
                files_done=len(done),
                files_total=len(seen),
                bytes_done=sum(file.size for file in done),
                bytes_total=sum(file.size for file in seen.values()),
                seconds=now - self._began,
            )
        )


def _batches(files: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    """Split into short batches, because only between two of them a new look is taken; a large file is alone."""
    batch: list[LocalFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) == _BATCH_FILES or size + file.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch
