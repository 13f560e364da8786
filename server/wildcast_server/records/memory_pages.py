"""The list of executions in memory."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from wildcast_server.domain.execution import Execution
from wildcast_server.records.memory_state import MemoryState, copied, seen
from wildcast_server.records.rules import as_page
from wildcast_server.records.values import Page, PageQuery, Position


class MemoryPages(MemoryState):
    """Lists executions."""

    def page(self, query: PageQuery) -> Page:
        with self._read() as tables:
            there = sorted(seen(tables), key=place_of, reverse=True)
        found = [copied(execution) for execution in there if _fits(execution, query)]
        return as_page(found[: query.limit + 1], query.limit)


def place_of(execution: Execution) -> Position:
    """Return where in the list an execution is."""
    return Position(execution.created_at, execution.sequence)


def _fits(execution: Execution, query: PageQuery) -> bool:
    return (
        query.workflow in (None, execution.workflow_name)
        and query.owner in (None, execution.owner)
        and (not query.ids or execution.id in query.ids)
        and (not query.statuses or execution.status in query.statuses)
        and query.labels.items() <= execution.labels.items()
        and (query.since is None or execution.created_at >= query.since)
        and (query.until is None or execution.created_at < query.until)
        and (query.before is None or place_of(execution) < query.before)
    )
