"""What belongs to one event loop: made in it, and closed in it when it ends or the process does; or shared in it."""

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

_CLOSE_SECONDS = 2.0

_Key = tuple[int, asyncio.AbstractEventLoop]
"""A forked child must not touch its parent's connections: hence the process id beside the loop."""


class _Kept(NamedTuple, Generic[T]):
    value: T
    scope: AsyncGenerator[None, None]
    at_exit: Callable[[], None]


class PerLoop(Generic[T]):
    """Keeps one object for each event loop that asks for it.

    Parameters
    ----------
    make
        Makes one for the running loop.
    close
        Closes one in its loop.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._make, self._close = make, close
        self._kept: dict[_Key, _Kept[T]] = {}

    def get(self) -> T:
        """Return the running loop's, made at the first call."""
        key = (os.getpid(), asyncio.get_running_loop())
        if key not in self._kept:
            self._forget_closed_loops()
            self._kept[key] = self._begin(key)
        return self._kept[key].value

    async def aclose(self) -> None:
        """Close the running loop's; the next call makes another."""
        kept = self._kept.get((os.getpid(), asyncio.get_running_loop()))
        if kept is not None:
            await kept.scope.aclose()

    def _begin(self, key: _Key) -> _Kept[T]:
        value = self._make()
        at_exit = partial(_close_at_exit, weakref.ref(self), key)
        scope = self._scope(key, value, at_exit)
        # Its first step has nothing to wait for, so it is taken here and now: no other task can come between.
        with contextlib.suppress(StopIteration):
            anext(scope).send(None)
        # Registered for each, so that it runs before the clean-up of a loop that is older.
        atexit.register(at_exit)
        return _Kept(value, scope, at_exit)

    async def _scope(self, key: _Key, value: T, at_exit: Callable[[], None]) -> AsyncGenerator[None, None]:
        # A suspended generator is what `asyncio.run` and `loop.shutdown_asyncgens` close in their own loop at its end.
        try:
            yield
        finally:
            # Whatever is registered there stays alive, and its loop with it.
            atexit.unregister(at_exit)
            self._kept.pop(key, None)
            await self._close(value)

    def _forget_closed_loops(self) -> None:
        for key in [key for key in list(self._kept) if key[1].is_closed()]:
            atexit.unregister(self._kept.pop(key).at_exit)

    def close_at_exit(self, key: _Key) -> None:
        """Close what is still open when the process ends, unless its loop is gone or a parent's."""
        kept, (pid, loop) = self._kept.get(key), key
        if kept is None or pid != os.getpid() or loop.is_closed():
            return
        with contextlib.suppress(Exception):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(kept.scope.aclose(), loop).result(_CLOSE_SECONDS)
            else:
                loop.run_until_complete(kept.scope.aclose())


async def in_daemon_thread(call: Callable[[], T], name: str) -> T:
    """Return what a call returns that may wait for minutes; a process that ends does not wait for it."""
    done: Future[T] = Future()
    # As one that runs already it is not cancelled by whoever gives up waiting for it.
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is handed on
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(done)


class Shared(Generic[T]):
    """One run of a coroutine in each event loop, for all who wait for its result there at the same time.

    Parameters
    ----------
    call
        Begins it, again for whoever asks after it has ended.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._running: dict[asyncio.AbstractEventLoop, asyncio.Future[T]] = {}

    async def result(self) -> T:
        """Return what it returns, and raise what it raises."""
        loop = asyncio.get_running_loop()
        running = self._running.get(loop)
        if running is None:
            running = self._running[loop] = asyncio.ensure_future(self._call())
            running.add_done_callback(partial(self._forget, loop))
        # Not behind a lock: all go on at the same time, and whoever is cancelled takes nothing from the others.
        return await asyncio.shield(running)

    def _forget(self, loop: asyncio.AbstractEventLoop, running: asyncio.Future[T]) -> None:
        self._running.pop(loop, None)
        if not running.cancelled():
            running.exception()  # Nobody may be left to take it, of which asyncio would complain.


def _close_at_exit(owner: "weakref.ref[PerLoop[Any]]", key: _Key) -> None:
    found = owner()
    if found is not None:
        found.close_at_exit(key)
