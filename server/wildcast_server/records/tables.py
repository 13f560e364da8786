"""The tables, and how Python's values lie in their columns."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    false,
    literal_column,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: any zone goes in, UTC comes out, also from SQLite, which keeps no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone, which could mean any."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time in the records must know its zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base's signature
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


JsonValue = JSON(none_as_null=True)

# SQLite counts up by itself only in a plain INTEGER.
Serial = BigInteger().with_variant(Integer, "sqlite")

executions = Table(
    "executions",
    metadata,
    # The order of submission.
    Column("sequence", Serial, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("workflow_name", String, nullable=False),
    Column("parameters", JsonValue, nullable=False),
    Column("owner", String, nullable=False),
    Column("status", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("progress", JsonValue),
    Column("error_message", Text),
    Column("provenance", JsonValue),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("jobs", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("place", Integer, nullable=False, server_default="1"),
    Column("worker", String),
    Column("site", String),
    Column("failed_step", String),
    Column("cancel_requested_at", UtcDateTime),
    Column("partial_asked", Boolean, nullable=False, server_default=false()),
    # Beside the table of their own, which finds executions by them: here they are read with the execution.
    Column("labels", JsonValue),
    Column("retention_seconds", Integer),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("expires_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Column("webhook", Text),
    Column("deaths", Integer, nullable=False, server_default="0"),
    # The queue, and positions in it.
    Index(None, "status", "sequence"),
    # The list, by each filter and both.
    Index(None, "created_at", "sequence"),
    Index(None, "workflow_name", "created_at", "sequence"),
    Index(None, "status", "created_at", "sequence"),
    Index(None, "workflow_name", "status", "created_at", "sequence"),
)
NOT_EXPIRED = executions.c.status != literal_column("'expired'")
"""Written out where it is asked for, so that an index of these alone is found."""

_MAY_EXPIRE = and_(executions.c.expires_at.is_not(None), NOT_EXPIRED, executions.c.deleted_at.is_(None))
Index(None, executions.c.expires_at, sqlite_where=_MAY_EXPIRE, postgresql_where=_MAY_EXPIRE)
_IS_DELETED = executions.c.deleted_at.is_not(None)
Index(None, executions.c.deleted_at, sqlite_where=_IS_DELETED, postgresql_where=_IS_DELETED)

labels = Table(
    "labels",
    metadata,
    Column("sequence", Serial, ForeignKey("executions.sequence", ondelete="CASCADE"), autoincrement=False),
    Column("name", String),
    Column("value", String, nullable=False),
    # The execution's, so that a list by label is in order without looking at executions.
    Column("created_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("sequence", "name"),
    Index(None, "name", "value", "created_at", "sequence"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", String),
    Column("key", String),
    Column("fingerprint", String, nullable=False),
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), nullable=False, index=True),
    PrimaryKeyConstraint("owner", "key"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("token", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("instance", String, nullable=False),
    Column("site", String, nullable=False),
    Column("queues", JsonValue, nullable=False),
    Column("state", String, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("event", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("tries", Integer, nullable=False),
    # Null: done, or given up.
    Column("next_try_at", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    Column("last_status", Integer),
    Column("last_error", Text),
)

removals = Table(
    "removals",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    # No foreign key: a removal outlives its execution's row.
    Column("execution_id", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("storage_type", String, nullable=False),
    Column("name", String, nullable=False),
    Column("prefix", String),
    Column("site", String),
    Column("committed", Boolean, nullable=False),
    Column("reason", String, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("tries", Integer, nullable=False),
    # Null: done, or given up.
    Column("next_try_at", UtcDateTime),
    Column("last_error", Text),
)
for _table in (deliveries, removals):
    _is_due = _table.c.next_try_at.is_not(None)
    Index(None, _table.c.next_try_at, sqlite_where=_is_due, postgresql_where=_is_due)

publications = Table(
    "publications",
    metadata,
    Column("execution_id", String, ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("storage_type", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("manifest", String, nullable=False),
    Column("verified", String, nullable=False),
    Column("datasets", JsonValue, nullable=False),
    Column("upload_seconds", Float),
    Column("upload_bytes_per_second", Float),
    Column("committed_at", UtcDateTime, nullable=False),
)
