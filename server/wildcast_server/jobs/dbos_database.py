"""What the adapter to DBOS needs of its database: how values are kept, connections, errors, and a quiet log."""

import json
import logging
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dbos import Serializer
from dbos._error import (
    DBOSAwaitedWorkflowCancelledError,
    DBOSException,
    DBOSInitializationError,
    DBOSWorkflowCancelledError,
    DBOSWorkflowConflictIDError,
    DBOSWorkflowIDInUseError,
)
from dbos._serialization import DefaultSerializer
from sqlalchemy import Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from wildcast_server.errors import RecordError, SchemaMismatchError, ServiceUnavailableError, SettingsError

_SUBSECONDS_SINCE = (3, 42)
"""The first SQLite whose ``unixepoch`` knows fractions of a second, which DBOS asks it for from Python 3.12 on."""


class StepFailedError(Exception):
    """What a step raised, as the engine kept it."""


class JsonSerializer(Serializer):
    """JSON and nothing else."""

    def serialize(self, data: Any) -> str:
        """Lay out a value, the arguments of a job, or an exception."""
        if isinstance(data, BaseException):
            data = {"__error__": [type(data).__name__, str(data)]}
        elif isinstance(data, dict) and data.keys() == {"args", "kwargs"}:
            data = {"args": list(data["args"]), "kwargs": data["kwargs"]}
        return json.dumps(data, allow_nan=False)

    def deserialize(self, serialized_data: str) -> Any:
        """Read it."""
        data = json.loads(serialized_data)
        if isinstance(data, dict) and data.keys() == {"__error__"}:
            return StepFailedError(": ".join(data["__error__"]))
        if isinstance(data, dict) and data.keys() == {"args", "kwargs"}:
            data["args"] = tuple(data["args"])
        return data

    def name(self) -> str:
        """Return what the engine notes beside each value."""
        return "wildcast_json"


def refuse_pickles() -> None:
    """Let nothing that is read from the database be unpickled.

    A row names its serializer itself, and DBOS' own, which unpickles, would be used for one that names that.
    """

    def refuse(_class: type[DefaultSerializer], _data: str) -> NoReturn:
        raise ValueError("a job or step is pickled, and wildcast pickles none")

    DefaultSerializer.deserialize = classmethod(refuse)  # type: ignore[assignment, method-assign]


def check_sqlite(
    url: str, python: tuple[int, ...] = sys.version_info[:2], sqlite: tuple[int, ...] = sqlite3.sqlite_version_info
) -> None:
    """Hold that this interpreter's SQLite can keep jobs; raises `SettingsError`."""
    if make_url(url).get_backend_name() == "sqlite" and python >= (3, 12) and sqlite < _SUBSECONDS_SINCE:
        raise SettingsError(
            f"Python 3.12 and newer need SQLite 3.42 for the jobs, and this one has {'.'.join(map(str, sqlite))}: "
            "use another build of Python, or Postgres in database.url"
        )


def open_engine(url: str, name: str, connect_seconds: int) -> Engine | None:
    """Return the engine for the jobs' tables; None leaves it to DBOS, whose own suits SQLite.

    DBOS waits for a database that is away, but knows that it is by words of the driver's, and does not know those of a
    socket that is not there, or of a name that cannot be resolved.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return None
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_size=4,
        max_overflow=0,
        pool_timeout=connect_seconds,
        pool_pre_ping=True,
        connect_args={"application_name": name[:63], "connect_timeout": connect_seconds},
    )
    event.listen(engine, "handle_error", _say_that_it_is_away)
    return engine


def _say_that_it_is_away(context: ExceptionContext) -> None:
    original = context.original_exception
    # What has no SQLSTATE was answered by no server.
    if isinstance(context.sqlalchemy_exception, OperationalError) and getattr(original, "sqlstate", "") is None:
        context.is_disconnect = True


class _Expected(logging.Filter):
    """Drops what DBOS calls errors and is meant to happen: a job that was withdrawn, or given to another worker."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        meant = (DBOSAwaitedWorkflowCancelledError, DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError)
        return not isinstance(error, meant)


def quieten() -> None:
    """Let DBOS log errors alone, and in the form that everything else here is logged in."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        # Or DBOS adds one that prints in a form of its own.
        logger.addHandler(logging.NullHandler())
        logger.addFilter(_Expected())
    logger.setLevel(logging.ERROR)


def _first_line(error: DBAPIError) -> str:
    # Without what Postgres adds in further lines: those repeat values.
    return str(error.orig).partition("\n")[0]


@contextmanager
def translated() -> Iterator[None]:
    """Turn DBOS' and the driver's errors into ours; the records do the same with theirs, in a room beside this one."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise ServiceUnavailableError("the jobs' database cannot be used now", _first_line(error)) from error
    except PoolTimeoutError as error:
        raise ServiceUnavailableError("every connection to the jobs' database is in use: try again later") from error
    except DBAPIError as error:
        raise RecordError(f"the jobs' database refused: {_first_line(error)}") from error
    except DBOSWorkflowIDInUseError as error:
        raise RecordError(f"there is a job {error.workflow_id!r} already") from error
    except DBOSInitializationError as error:
        raise SchemaMismatchError(
            "the database has not the tables that the installed version of DBOS needs: "
            "stop the service, make a copy of the database, and run `wildcast-server migrate`"
        ) from error
    except DBOSException as error:
        raise RecordError(f"the job engine refused: {error}") from error
