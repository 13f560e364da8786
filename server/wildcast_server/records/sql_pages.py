"""The list of executions in a database, page by page."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from wildcast_server.records import page_queries
from wildcast_server.records.rows import execution_of
from wildcast_server.records.rules import as_page
from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.values import Page, PageQuery

BEGINNING = datetime.min.replace(tzinfo=UTC)
"""A label with fewer executions than are passed over reaches farther than any other."""


class SqlPages(SqlDatabase):
    """Lists executions."""

    def page(self, query: PageQuery) -> Page:
        with self._read() as connection:
            if len(query.labels) > 1:
                query = replace(query, labels=rarest_first(connection, query))
            rows = connection.execute(page_queries.page(query)).mappings().all()
        return as_page([execution_of(row) for row in rows], query.limit)


def rarest_first(connection: Connection, query: PageQuery) -> Mapping[str, str]:
    """Return a query's labels in the order in which they are to be looked up."""
    times = connection.execute(page_queries.reach(query)).one()
    farthest_first = sorted(zip(times, query.labels.items(), strict=True), key=lambda pair: pair[0] or BEGINNING)
    return dict(label for _, label in farthest_first)
