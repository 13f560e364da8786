"""Blocking work beside the event loop: in threads of its own for each kind, so that a kind that stalls stalls no other.

To wake a thread and be woken by it costs more than most of what is done here, most of all while Python's threads
compete for the interpreter: so the work of requests that come together is done together.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Key = TypeVar("Key", bound=Hashable)

PACE = 0.01
"""Seconds from the beginning of one batch to that of the next, while there is more than one caller at a time."""


class Threads:
    """Some threads for one kind of work: each of the first pieces of work starts one, until there are `size`.

    They are daemons: work that waits for a store that never answers does not keep the process from ending.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, work: Callable[..., Outcome], *arguments: Any) -> Outcome:
        """Return what `work` returns, or raise what it raises; who stops waiting for it does not stop it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._jobs.put(_Job(loop, future, work, arguments))
        if len(self._threads) < self._size:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work_off, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return await future

    def close(self, deadline: float) -> None:
        """Let the threads end, and wait for those that do so before `deadline`, of the monotonic clock."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work_off(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()
            # Nothing of it may live on until the next one comes.
            del job


@dataclass(frozen=True)
class _Job:
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    work: Callable[..., Any]
    arguments: tuple[Any, ...]

    def do(self) -> None:
        try:
            outcome, error = self.work(*self.arguments), None
        except BaseException as raised:  # noqa: BLE001 - it is raised to the caller, and ends no thread
            outcome, error = None, _raisable(raised)
        # A loop that has ended awaits nothing any more.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(_settle, self.future, outcome, error)


def _raisable(error: BaseException) -> Exception:
    """Wrap what a task may not raise: a `SystemExit`, of a workflow's validator for one, would end the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"{type(error).__name__} was raised in a thread")
    wrapped.__cause__ = error
    return wrapped


def _settle(future: "asyncio.Future[Any]", outcome: Any, error: Exception | None) -> None:
    if future.done():  # its caller has gone
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)


class Together(Generic[Item, Outcome]):
    """Gives many callers' items to one call of `work`, in a thread.

    What comes while a batch is worked on makes the next one; and where that is more than one item, what comes within
    `pace` seconds of its beginning. So nobody is answered with what was true before they asked, and who is alone does
    not wait.

    Parameters
    ----------
    work
        Takes items, and returns as many outcomes in the same order; an exception among them is raised to its caller,
        and one that `work` itself raises to all.
    threads
        Where it runs; one batch at a time.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Outcome | Exception]],
        threads: Threads,
        *,
        pace: float = PACE,
    ) -> None:
        self._work = work
        self._threads = threads
        self._pace = pace
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Outcome:
        """Return the outcome for `item`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((item, future))
        if self._working is None:
            self._working = loop.create_task(self._work_off())
        return await future

    async def _work_off(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                begun = loop.time()
                batch, self._waiting = self._waiting, []
                outcomes = await self._outcomes([item for item, _ in batch])
                for (_, future), outcome in zip(batch, outcomes, strict=True):
                    _settle(future, outcome, outcome if isinstance(outcome, Exception) else None)
                if len(batch) > 1:
                    await asyncio.sleep(begun + self._pace - loop.time())
        finally:
            self._working = None

    async def _outcomes(self, items: list[Item]) -> Sequence[Outcome | Exception]:
        try:
            return await self._threads.run(self._work, items)
        except Exception as error:  # noqa: BLE001 - it is raised to those who wait
            return [error] * len(items)


class Once(Generic[Key, Outcome]):
    """Does at one time only once what several callers want at that time."""

    def __init__(self) -> None:
        self._under_way: dict[Key, asyncio.Task[Outcome]] = {}

    async def __call__(self, key: Key, begin: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        """Return the outcome of what is under way for `key`; nothing is: begin it."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.get_running_loop().create_task(begin())
            task.add_done_callback(lambda _: self._under_way.pop(key))
        # Who goes away takes nobody's answer along.
        return await asyncio.shield(task)
