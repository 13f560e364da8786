"""The database of the records, for each part of what is kept in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from wildcast_server.records.engine import reading, translated


class SqlDatabase:
    """Transactions in a database.

    Parameters
    ----------
    engine
        From `open_engine`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._reading.connect() as connection:
            yield connection
