"""The records of executions: the port and its SQL implementation."""

from wildcast_server.records.base import Changes, Records, Standing
from wildcast_server.records.engine import open_engine
from wildcast_server.records.memory import MemoryRecords
from wildcast_server.records.observed import ObservedRecords
from wildcast_server.records.schema import ensure_schema, migrate
from wildcast_server.records.sql import SqlRecords

__all__ = [
    "Changes",
    "MemoryRecords",
    "ObservedRecords",
    "Records",
    "SqlRecords",
    "Standing",
    "ensure_schema",
    "migrate",
    "open_engine",
]
