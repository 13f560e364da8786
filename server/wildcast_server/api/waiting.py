"""Waiting until an execution stands elsewhere: what long-polling and event streams are made of."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from wildcast_server.api.standings import Standings
from wildcast_server.records import Standing
from wildcast_server.usecases.lookup import pick

TICK_SECONDS = 0.25
"""Between two looks at the records, while anybody waits."""

_LOOK_SHARE = 4
"""Looking takes at most about one in so many seconds, however many wait."""


def stands_elsewhere(before: Standing, now: Standing) -> bool:
    """Whether anything has changed that a client can see; to move up in the queue is no change of the execution."""
    return (before.execution.version, before.position) != (now.execution.version, now.position)


@dataclass
class _Waiter:
    workflow_name: str
    latest: Standing
    """What it was told last; anything else is news."""
    told: "asyncio.Future[Standing]"

    def look(self, execution_id: str, found: Standing | None) -> None:
        if self.told.done():
            return
        try:
            now = pick(found, self.workflow_name, execution_id)
        except Exception as error:  # noqa: BLE001 - it is raised to who waits
            self.told.set_exception(error)
            return
        if stands_elsewhere(self.latest, now):
            self.told.set_result(now)


class Waiting:
    """Tells those who wait what changes; all of them together cost one query a tick, and none while nobody waits.

    Parameters
    ----------
    standings
        Where executions stand.
    tick
        As `TICK_SECONDS`.
    """

    def __init__(self, standings: Standings, *, tick: float = TICK_SECONDS) -> None:
        self._standings = standings
        self._tick = tick
        self._waiters: defaultdict[str, list[_Waiter]] = defaultdict(list)
        self._ticking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        """Whether the server is about to stop, so that nobody is to wait for anything."""
        return self._has_ended

    async def changed(self, workflow_name: str, before: Standing, seconds: float) -> Standing:
        """Return where the execution stands as soon as that is not `before` any more.

        That is `before` itself after so many seconds, and at once when the server is about to stop.

        Raises
        ------
        UnknownExecutionError
            If it was deleted meanwhile.
        ServiceUnavailableError
            If the records cannot be reached.
        """
        loop = self._loop = asyncio.get_running_loop()
        if self._has_ended:
            return before
        execution_id = before.execution.id
        waiter = _Waiter(workflow_name, before, loop.create_future())
        self._waiters[execution_id].append(waiter)
        if self._ticking is None:
            self._ticking = loop.create_task(self._look_again_and_again())
        try:
            async with asyncio.timeout(seconds):
                return await waiter.told
        except TimeoutError:
            return before
        finally:
            self._waiters[execution_id].remove(waiter)
            if not self._waiters[execution_id]:
                del self._waiters[execution_id]

    def end(self) -> None:
        """Let go of all who wait, and of all who come after; any thread may call it."""
        self._has_ended = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.told.done():
                    waiter.told.set_result(waiter.latest)

    async def _look_again_and_again(self) -> None:
        loop, pause = asyncio.get_running_loop(), self._tick
        try:
            while self._waiters:
                await asyncio.sleep(pause)
                began = loop.time()
                await self._look()
                pause = max(self._tick, _LOOK_SHARE * (loop.time() - began))
        finally:
            self._ticking = None

    async def _look(self) -> None:
        asked = {execution_id: list(waiters) for execution_id, waiters in self._waiters.items()}
        if not asked:
            return
        try:
            found = await self._standings.of_all(list(asked))
        except Exception as error:  # noqa: BLE001 - it is raised to those who wait
            for waiters in asked.values():
                for waiter in waiters:
                    if not waiter.told.done():
                        waiter.told.set_exception(error)
            return
        for execution_id, waiters in asked.items():
            for waiter in waiters:
                waiter.look(execution_id, found.get(execution_id))
