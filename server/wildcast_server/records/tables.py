"""The tables, and how Python's values lie in their columns."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
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

executions = Table(
    "executions",
    metadata,
    # The order of submission; SQLite counts up by itself only in a plain INTEGER.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
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
    Index(None, "status", "sequence"),
)

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
