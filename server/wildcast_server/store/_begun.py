"""Begin a request of the Rust client, which tells from a thread of its own that it has ended.

A thread for each request in flight costs more than the request, where requests are small: each call lets go of Python's
global lock, and waits to get it back. obstore's asynchronous functions need no thread of ours. They want an event loop
only to make a future, and to be called back: here, whoever has begun requests turns over what was left to be called.
"""

import asyncio
import atexit
import sys
import time
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, cast

import obstore

from wildcast_server.store._errors import DRIVER_ERRORS
from wildcast_server.store.base import Later

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ObjectStore as Driver

DriverEnded = Callable[[str | None, BaseException | None], None]
"""Takes in the ETag of an object that was written, or what the driver raised."""

_PATIENCE = 2.0
"""Seconds that the end of the process waits for the driver's threads."""


def _nothing(_etag: str | None, _error: BaseException | None) -> None:
    pass


class _Put:
    """What obstore takes for the running event loop, and for a future: those of one request, never cancelled."""

    __slots__ = ("_ended", "_later")

    def __init__(self, ended: DriverEnded, later: Later) -> None:
        self._ended, self._later = ended, later

    def create_future(self) -> Self:
        return self

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any, context: object = None) -> None:
        del context
        self._later((callback, arguments))

    def add_done_callback(self, callback: object, *, context: object = None) -> None:
        """Do nothing: the driver would hear from it of a cancellation alone."""

    cancelled = bool
    """It is not: `bool()`."""

    def set_result(self, result: Any) -> None:
        self._end(result["e_tag"], None)

    def set_exception(self, error: BaseException) -> None:
        self._end(None, error)

    def _end(self, etag: str | None, error: BaseException | None) -> None:
        # The driver keeps this object for a while, and it is not to keep the bytes.
        ended, self._ended = self._ended, _nothing
        ended(etag, error)


def begin_put(
    driver: "Driver",
    path: str,
    data: bytes,
    ended: DriverEnded,
    later: Later,
    *,
    attributes: "Attributes | None",
    tags: dict[str, str] | None,
) -> None:
    """Begin to write an object in one request.

    Parameters
    ----------
    driver, path, data, attributes, tags
        As `obstore.put` has them.
    ended
        Called once with the ETag, or with what the driver raised: at once, or by what is left to `later`.
    later
        Takes in what is to be called; the driver calls it, in a thread of its own.
    """
    _settle_at_exit()
    before = asyncio._get_running_loop()  # noqa: SLF001 - named in asyncio's `__all__`, for whoever makes event loops
    asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", _Put(ended, later)))  # noqa: SLF001 - the same
    refusal: BaseException | None = None
    try:
        begun: object = obstore.put_async(driver, path, data, use_multipart=False, attributes=attributes, tags=tags)
        del begun
    except DRIVER_ERRORS as error:
        refusal = error
    finally:
        asyncio._set_running_loop(before)  # noqa: SLF001 - the same
    if refusal is not None:
        ended(None, refusal)


@cache
def _settle_at_exit() -> None:
    atexit.register(_settle)


def _settle() -> None:
    """Wait until no thread of the driver is in here: one that comes back to an interpreter that has ended aborts it."""
    until = time.monotonic() + _PATIENCE
    while _is_called_back() and time.monotonic() < until:
        time.sleep(0.001)


def _is_called_back() -> bool:
    return any(map(_calls_back, sys._current_frames().values()))  # noqa: SLF001 - the documented name


def _calls_back(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _Put.call_soon_threadsafe.__code__:
        frame = frame.f_back
    return frame is not None
