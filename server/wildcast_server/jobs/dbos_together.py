"""Many jobs in as many statements as one: DBOS makes two for each, and compiles both anew every time."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Insert

from wildcast_server.errors import RecordError


class Together:
    """Stands for a connection while DBOS adds jobs in a transaction, and keeps what it would have inserted.

    Parameters
    ----------
    connection
        In whose transaction `insert` adds all of it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kept: dict[str, tuple[Insert, list[dict[str, Any]]]] = {}

    @property
    def dialect(self) -> Dialect:
        """The connection's, by which DBOS sees that the statement is not for its own driver's."""
        return self._connection.dialect

    def get_execution_options(self) -> Mapping[str, Any]:
        """Return the connection's, where DBOS says in which schema its tables are."""
        return self._connection.get_execution_options()

    def execution_options(self, **options: Any) -> None:
        """Set the connection's."""
        self._connection.execution_options(**options)

    def execute(self, statement: Insert, values: dict[str, Any]) -> "Unknown":
        """Keep a row for its table."""
        _, rows = self._kept.setdefault(str(statement.table.name), (statement, []))
        rows.append(values)
        return Unknown()

    def insert(self) -> None:
        """Insert what was kept, one statement for each table.

        Raises
        ------
        RecordError
            If there is a job of one of these ids: the statement leaves that one as it is, and returns whose it is.
        """
        for statement, rows in self._kept.values():
            found = self._connection.execute(statement, rows)
            if not found.returns_rows:
                continue
            there = {row["creator_xid"] for row in found.mappings()}
            for row in rows:
                if row["creator_xid"] not in there:
                    raise RecordError(f"there is a job {row['workflow_uuid']!r} already")
        self._kept.clear()


class Unknown:
    """A result that is not known yet: DBOS takes the job for a new one."""

    def fetchone(self) -> None:
        """Return no row."""
