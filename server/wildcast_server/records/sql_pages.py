"""The list of executions in a database, page by page."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from wildcast_server.records import page_queries
from wildcast_server.records.rows import execution_of
from wildcast_server.records.rules import as_page
from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.values import Page, PageQuery


class SqlPages(SqlDatabase):
    """Lists executions."""

    def page(self, query: PageQuery) -> Page:
        with self._read() as connection:
            if len(query.labels) > 1:
                query = replace(query, labels=_rarest_first(connection, query.labels))
            rows = connection.execute(page_queries.page(query)).mappings().all()
        return as_page([execution_of(row) for row in rows], query.limit)


def _rarest_first(connection: Connection, labels: Mapping[str, str]) -> Mapping[str, str]:
    def count(label: tuple[str, str]) -> int:
        wanted = dict(zip(("name", "value"), label, strict=True))
        return int(connection.execute(page_queries.COUNT_LABEL, wanted).scalar_one())

    return dict(sorted(labels.items(), key=count))
