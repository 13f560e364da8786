"""Looking executions up for the routes that are asked most."""

from collections.abc import Collection, Sequence

from wildcast_server.api.threads import Threads, Together
from wildcast_server.records import Standing
from wildcast_server.usecases.lookup import Lookup, pick


class Standings:
    """Where executions stand, as the records have it after the question: nothing is kept from one to the next.

    The questions that come within some milliseconds are one query, in a thread. So a thousand clients that poll cost
    the records what two hundred would, and a database that is slow makes them wait but nobody else.
    """

    def __init__(self, lookup: Lookup, threads: Threads) -> None:
        self._lookup = lookup
        self._threads = threads
        self._found = Together(self._look_up, threads)

    async def of(self, workflow_name: str, execution_id: str) -> Standing:
        """Return where an execution stands; raises `UnknownExecutionError` if the workflow has none of that id."""
        return pick(await self._found(execution_id), workflow_name, execution_id)

    async def of_all(self, execution_ids: Collection[str]) -> dict[str, Standing]:
        """Return where several executions stand, in one query; an id that there is not is left out."""
        return await self._threads.run(self._lookup.standings, execution_ids)

    def _look_up(self, execution_ids: Sequence[str]) -> list[Standing | None]:
        found = self._lookup.standings(execution_ids)
        return [found.get(each) for each in execution_ids]
