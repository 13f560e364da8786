"""The records of executions: the port and its SQL implementation."""

from wildcast_server.records.base import Records
from wildcast_server.records.engine import open_engine
from wildcast_server.records.memory import MemoryRecords
from wildcast_server.records.observed import ObservedRecords
from wildcast_server.records.schema import ensure_schema, is_fresh, migrate
from wildcast_server.records.sql import SqlRecords
from wildcast_server.records.values import (
    UNLIMITED,
    Accepted,
    Changes,
    Effects,
    Heed,
    Limits,
    Marks,
    Page,
    PageQuery,
    Position,
    Standing,
    Submission,
    Within,
)

__all__ = [
    "UNLIMITED",
    "Accepted",
    "Changes",
    "Effects",
    "Heed",
    "Limits",
    "Marks",
    "MemoryRecords",
    "ObservedRecords",
    "Page",
    "PageQuery",
    "Position",
    "Records",
    "SqlRecords",
    "Standing",
    "Submission",
    "Within",
    "ensure_schema",
    "is_fresh",
    "migrate",
    "open_engine",
]
