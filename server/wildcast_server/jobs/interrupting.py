"""Doing blocking work in a thread, from a task that may be cancelled."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Returned = TypeVar("Returned")


async def interruptible(work: Callable[[], Returned], interrupt: Callable[[], None]) -> Returned:
    """Do `work` in a thread; if this task is cancelled, call `interrupt` in another, and wait for the end of `work`."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    finally:
        if not working.done():
            # The cancellation is a BaseException: only `finally` sees it.
            await asyncio.shield(asyncio.to_thread(interrupt))
            await asyncio.wait({working})
