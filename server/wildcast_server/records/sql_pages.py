"""The list of executions in a database, page by page."""
# ruff: noqa: D102 - the port's docstrings hold for the methods here

from wildcast_server.records import page_queries
from wildcast_server.records.rows import execution_of
from wildcast_server.records.rules import as_page
from wildcast_server.records.sql_database import SqlDatabase
from wildcast_server.records.values import Page, PageQuery


class SqlPages(SqlDatabase):
    """Lists executions."""

    def page(self, query: PageQuery) -> Page:
        with self._read() as connection:
            rows = connection.execute(page_queries.page(query)).mappings().all()
        return as_page([execution_of(row) for row in rows], query.limit)
