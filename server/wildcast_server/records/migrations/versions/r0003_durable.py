"""What executions need to survive every process: their jobs, workers, labels, keys, and what follows their ends."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def _time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _serial(name: str, *, autoincrement: bool) -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, nullable=False, autoincrement=autoincrement)


def _text(name: str, *, nullable: bool = False, kind: type[sa.String] = sa.String) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False)


def upgrade() -> None:
    """Add columns and tables; what was recorded before has no job, and is taken up all the same."""
    _extend_executions()
    _index_executions()
    _make_labels()
    _make_idempotency()
    _make_workers()
    _make_deliveries()
    _make_removals()


def _extend_executions() -> None:
    columns: list[sa.Column[Any]] = [
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in ("version", "jobs", "tries")),
        sa.Column("place", sa.Integer, nullable=False, server_default="1"),
        *(_text(name, nullable=True) for name in ("worker", "site", "failed_step")),
        _time("cancel_requested_at"),
        sa.Column("partial_asked", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("labels", sa.JSON),
        sa.Column("retention_seconds", sa.Integer),
        sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
        _time("expires_at"),
        _time("deleted_at"),
        _text("webhook", nullable=True, kind=sa.Text),
    ]
    for column in columns:
        op.add_column("executions", column)


def _index_executions() -> None:
    place = ["created_at", "sequence"]
    for names in (place, ["workflow_name", *place], ["status", *place], ["workflow_name", "status", *place]):
        op.create_index(f"ix_executions_{'_'.join(names)}", "executions", names)
    _index_what_is_set("executions", "expires_at", " AND status != 'expired' AND deleted_at IS NULL")
    _index_what_is_set("executions", "deleted_at")


def _index_what_is_set(table: str, name: str, further: str = "") -> None:
    is_set = sa.text(f"{name} IS NOT NULL{further}")
    op.create_index(f"ix_{table}_{name}", table, [name], sqlite_where=is_set, postgresql_where=is_set)


def _make_labels() -> None:
    op.create_table(
        "labels",
        _serial("sequence", autoincrement=False),
        _text("name"),
        _text("value"),
        _time("created_at", nullable=False),
        sa.PrimaryKeyConstraint("sequence", "name", name="pk_labels"),
        sa.ForeignKeyConstraint(["sequence"], ["executions.sequence"], name="fk_labels_sequence", ondelete="CASCADE"),
    )
    op.create_index("ix_labels_name_value_created_at_sequence", "labels", ["name", "value", "created_at", "sequence"])


def _make_idempotency() -> None:
    op.create_table(
        "idempotency",
        _text("owner"),
        _text("key"),
        _text("fingerprint"),
        _text("execution_id"),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency"),
        _to_execution("idempotency"),
    )
    op.create_index("ix_idempotency_execution_id", "idempotency", ["execution_id"])


def _to_execution(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["execution_id"], ["executions.id"], name=f"fk_{table}_execution_id", ondelete="CASCADE"
    )


def _make_workers() -> None:
    op.create_table(
        "workers",
        _text("id"),
        _text("token"),
        _text("host"),
        _number("pid"),
        _text("instance"),
        _text("site"),
        sa.Column("queues", sa.JSON, nullable=False),
        _text("state"),
        _time("started_at", nullable=False),
        _time("heartbeat_at", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        _serial("id", autoincrement=True),
        _text("execution_id"),
        _text("event"),
        _text("url", kind=sa.Text),
        _text("body", kind=sa.Text),
        _time("created_at", nullable=False),
        _number("tries"),
        _time("next_try_at"),
        _time("delivered_at"),
        sa.Column("last_status", sa.Integer),
        _text("last_error", nullable=True, kind=sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        _to_execution("deliveries"),
    )
    op.create_index("ix_deliveries_execution_id", "deliveries", ["execution_id"])
    _index_what_is_set("deliveries", "next_try_at")


def _make_removals() -> None:
    op.create_table(
        "removals",
        _serial("id", autoincrement=True),
        _text("execution_id"),
        _number("attempt"),
        _text("storage_type"),
        _text("name"),
        _text("prefix", nullable=True),
        _text("site", nullable=True),
        sa.Column("committed", sa.Boolean, nullable=False),
        _text("reason"),
        _time("requested_at", nullable=False),
        _number("tries"),
        _time("next_try_at"),
        _text("last_error", nullable=True, kind=sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_removals"),
    )
    op.create_index("ix_removals_execution_id", "removals", ["execution_id"])
    _index_what_is_set("removals", "next_try_at")
