"""The port of streamed output: where files and zarr stores go that a workflow writes piece by piece."""

import io
import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wildcast.contract.naming import RESERVED, InvalidPathError, check_key
from wildcast_server.errors import WildcastServerError, WorkflowFailedError

if TYPE_CHECKING:
    from zarr.abc.store import Store


def check_output_name(name: str | os.PathLike[str]) -> str:
    """Return the name of a streamed file or zarr store if the output can have it.

    Raises
    ------
    InvalidPathError
        If it is no relative path of plain segments, or one of wildcast's own.
    """
    path = os.fspath(name)
    try:
        check_key(path)
    except InvalidPathError as error:
        raise InvalidPathError(
            f"{error}; give a path relative to the output directory, such as 'fields/t2m.nc'"
        ) from None
    if RESERVED in path.split("/"):
        raise InvalidPathError(f"{path!r} is reserved for wildcast itself; choose a name without {RESERVED}/")
    return path


def check_process(owner: int) -> None:
    """Raise `RuntimeError` in another process than `owner`: connections and locks do not survive a fork."""
    if os.getpid() != owner:
        raise RuntimeError("only the process that runs the workflow can stream output, not one that it has forked")


class OutputFile(io.BufferedIOBase):
    """A binary file that is written once from its beginning to its end, and is whole or not there.

    It exists from the moment that `close` has returned. Where a ``with`` block is left by an exception, or `abort` is
    called, nothing is left of it. There is no reading and no seeking. A wrapper such as `io.TextIOWrapper` closes it
    whatever happened, so write the ``with`` block around this file, and close the wrapper at the end of it.

    Parameters
    ----------
    path
        Relative to the output.
    on_end
        Called once, when the file is closed or aborted.
    """

    def __init__(self, path: str, on_end: Callable[[str], None]) -> None:
        self.name = path
        self._on_end = on_end
        self._length = 0
        self._turn = threading.RLock()
        self._owner = os.getpid()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {'closed' if self.closed else f'{self._length} bytes'}>"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # The base class would close it, and so make a whole file of a part.
        with suppress(Exception):
            self.abort()

    def writable(self) -> bool:
        """Whether it can be written to: yes."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._length

    def seek(self, _offset: int, _whence: int = os.SEEK_SET, /) -> int:
        """Raise `io.UnsupportedOperation`, with what to do instead: HDF5 and others seek in what they write."""
        raise io.UnsupportedOperation(
            f"{self.name} is streamed from its beginning to its end, and what writes it wants to seek; let it write "
            "into memory (io.BytesIO, or to_netcdf() without a file) and stream those bytes, or write the file into "
            "context.output_directory"
        )

    def flush(self) -> None:
        """Do nothing: what was written so far is no file yet."""
        self._check_open()

    def write(self, data: Any, /) -> int:
        """Append bytes, or what else has a buffer of contiguous memory; return how many.

        Raises
        ------
        ValueError
            If the file is closed.
        RuntimeError
            In a process that was forked from the one that opened it.
        OSError, StoreError
            If the place that it goes to fails, now or since an earlier call.
        """
        view = memoryview(data)
        if not view.nbytes:
            return 0
        with self._turn:
            self._check_open()
            self._append(view.cast("B"))
            self._length += view.nbytes
        return view.nbytes

    def close(self) -> None:
        """Make it a whole file, and return once it is one; if that fails, nothing is left, and the reason is raised."""
        with self._turn:
            if self.closed:
                return
            self._check_open()
            try:
                self._commit()
            except BaseException:
                self.abort()
                raise
            self._end()

    def abort(self) -> None:
        """Leave nothing of it. Idempotent; nothing happens to a file that was closed."""
        if os.getpid() != self._owner:
            return
        with self._turn:
            if self.closed:
                return
            try:
                self._discard()
            finally:
                self._end()

    @abstractmethod
    def _append(self, view: memoryview) -> None:
        """Take in the next bytes, which the caller may change afterwards."""

    @abstractmethod
    def _commit(self) -> None:
        """Make what was written a whole file."""

    @abstractmethod
    def _discard(self) -> None:
        """Leave nothing."""

    def _end(self) -> None:
        super().close()
        self._on_end(self.name)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name} is closed; what was written is final")
        check_process(self._owner)


class OutputSink(ABC):
    """Where a run's streamed output goes. Names were checked."""

    @abstractmethod
    def open(self, path: str, *, if_absent: bool = False, size_hint: int | None = None) -> OutputFile:
        """Begin a file.

        Parameters
        ----------
        path
            Relative to the output.
        if_absent
            Whether closing fails with a `FileExistsError` if there is one already, which is left as it is; else it is
            replaced.
        size_hint
            How long the file will be, in bytes, or more.
        """

    @abstractmethod
    def zarr_store(self, path: str) -> "Store":
        """Return a store for zarr, version 3 of the library."""

    @abstractmethod
    def finish(self) -> None:
        """Take note that the run came to its end; nothing can be streamed any more.

        Raises
        ------
        WorkflowFailedError
            If a file was not closed; it is aborted.
        """

    @abstractmethod
    def abort(self) -> None:
        """Abort all files that are open; nothing can be streamed any more. Idempotent, and raises nothing."""


class OpenFiles:
    """The files of a sink that are being written, each by one writer.

    Parameters
    ----------
    limit
        How many there may be at a time; None: as many as the system allows.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._files: dict[str, OutputFile | None] = {}
        self._lock = threading.Lock()
        self._ended = False

    def add(self, path: str, make: Callable[[Callable[[str], None]], OutputFile]) -> OutputFile:
        """Begin a file: `make` is given what is to be called at its end.

        Raises
        ------
        FileExistsError
            If it is open already.
        OSError
            If too many are open.
        RuntimeError
            If the run has ended.
        """
        self._reserve(path)
        try:
            file = make(self._forget)
        except BaseException:
            self._forget(path)
            raise
        with self._lock:
            if not self._ended:
                self._files[path] = file
                return file
        # It ended while the file was being made.
        file.abort()
        raise self._has_ended()

    def check_running(self) -> None:
        """Raise `RuntimeError` if the run has ended."""
        if self._ended:
            raise self._has_ended()

    def finish(self) -> None:
        """End, as `OutputSink.finish` does."""
        left = sorted(self._files)
        self.abort()
        if left:
            raise WorkflowFailedError(
                f"{', '.join(left)} was opened with context.open and never closed, so it is no file; "
                "use `with context.open(…) as file:`"
            )

    def abort(self) -> None:
        """End, as `OutputSink.abort` does."""
        with self._lock:
            self._ended = True
            files = list(self._files.values())
        for file in files:
            if file is not None:
                with suppress(OSError, WildcastServerError):
                    file.abort()

    def _reserve(self, path: str) -> None:
        with self._lock:
            self.check_running()
            if path in self._files:
                raise FileExistsError(f"{path} is being written already; close it first")
            if self._limit is not None and len(self._files) >= self._limit:
                raise OSError(f"{len(self._files)} streamed files are open, and no more can be: close one first")
            self._files[path] = None

    def _has_ended(self) -> RuntimeError:
        return RuntimeError("the run has ended: nothing can be streamed any more")

    def _forget(self, path: str) -> None:
        with self._lock:
            self._files.pop(path, None)


def partial_beside(target: Path) -> Path:
    """Return a name, of its own each time, under which `target` can be written before it is renamed."""
    return target.with_name(f".{uuid.uuid4().hex}.partial")


class DirectorySink(OutputSink):
    """Streams into the output directory: in a notebook or a test, and where the service itself serves the results.

    Parameters
    ----------
    directory
        The output directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = OpenFiles()

    def open(self, path: str, *, if_absent: bool = False, size_hint: int | None = None) -> OutputFile:
        """Begin a file."""
        del size_hint
        target = self._directory / path
        return self._files.add(path, lambda on_end: _LocalFile(path, target, on_end, if_absent=if_absent))

    def zarr_store(self, path: str) -> "Store":
        """Return zarr's own store of local files."""
        from zarr.storage import LocalStore

        self._files.check_running()
        return LocalStore(self._directory / path)

    def finish(self) -> None:
        """Take note of the run's end."""
        self._files.finish()

    def abort(self) -> None:
        """Abort what is open."""
        self._files.abort()


class _LocalFile(OutputFile):
    """A file beside its place, until it is closed."""

    def __init__(self, path: str, target: Path, on_end: Callable[[str], None], *, if_absent: bool) -> None:
        super().__init__(path, on_end)
        self._target = target
        self._if_absent = if_absent
        target.parent.mkdir(parents=True, exist_ok=True)
        self._partial = partial_beside(target)
        self._check_absent()
        self._file = self._partial.open("xb")

    def _append(self, view: memoryview) -> None:
        self._file.write(view)

    def _commit(self) -> None:
        self._file.close()
        self._check_absent()
        self._partial.replace(self._target)

    def _discard(self) -> None:
        # Flushing what is buffered may fail, as on a full disk, which is no matter here.
        with suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def _check_absent(self) -> None:
        if self._if_absent and self._target.exists():
            raise FileExistsError(f"{self.name} is there already, and if_absent=True forbids to replace it")
