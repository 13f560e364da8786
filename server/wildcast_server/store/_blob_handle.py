"""A request under way between objects and memory."""

from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Self

from wildcast_server.errors import OtherStoreError, StoreError


class BlobHandle:
    """A request under way: one or several transfers. Until it is released, it keeps their buffers alive.

    It is a context manager that releases itself.
    """

    def __init__(self, views: Sequence[memoryview], pieces: int, uri: str, finish: Callable[[], None]) -> None:
        self._views = views
        self._pending = pieces
        self._uri = uri
        self._finish = finish
        self._lock = Lock()
        self._done = Event()
        self._error: StoreError | None = None
        self._released = False

    def __repr__(self) -> str:
        state = "released" if self._released else "done" if self._done.is_set() else "under way"
        return f"BlobHandle({self._uri!r}, {state})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()

    def poll(self) -> bool:
        """Say whether all is done, without waiting.

        Raises
        ------
        StoreError
            What the first transfer that failed met. Then no buffer's content is defined.
        ValueError
            If the handle was released.
        """
        if self._released:
            raise ValueError("the handle was released: ask it before")
        if not self._done.is_set():
            return False
        if self._error is not None:
            raise self._error
        return True

    def wait(self, timeout: float | None = None) -> None:
        """Return when all is done.

        Parameters
        ----------
        timeout
            In seconds; None waits as long as it takes.

        Raises
        ------
        TimeoutError
            If it was not done by then; it goes on.
        StoreError, ValueError
            As `poll`.
        """
        if not self._released and not self._done.wait(timeout):
            raise TimeoutError(f"the transfer with {self._uri} was not done after {timeout} s")
        self.poll()

    def release(self) -> None:
        """Let go of the buffers; a second time does nothing.

        What has not begun is left out, what has begun is waited for: when this returns nobody touches the buffers any
        more. It raises nothing that the transfers met.
        """
        with self._lock:
            self._released = True
        self._done.wait()
        # By name, because the traceback of an error keeps the frames that refer to them.
        for view in self._views:
            view.release()

    def run(self, piece: Callable[[], None]) -> None:
        """Do a part of the work, unless it is in vain; called by a thread of the pool, once for each."""
        try:
            if not self._released and self._error is None:
                piece()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody else to tell, of a panic in Rust neither
            self._fail(error)
        finally:
            self._one_less()

    def _fail(self, error: BaseException) -> None:
        known = error if isinstance(error, StoreError) else self._other(error)
        with self._lock:
            self._error = self._error or known

    def _other(self, error: BaseException) -> StoreError:
        other = OtherStoreError(f"the transfer with {self._uri} failed: {type(error).__name__}", self._uri)
        other.__cause__ = error
        return other

    def _one_less(self) -> None:
        with self._lock:
            self._pending -= 1
            last = self._pending == 0
        if last:
            self._end()

    def _end(self) -> None:
        """Mark it as done, if indeed all was."""
        try:
            if self._error is None and not self._released:
                self._finish()
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(error)
        finally:
            self._done.set()
