"""Executions and their publications."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "executions",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("workflow_name", sa.String, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("progress", sa.JSON),
        sa.Column("error_message", sa.Text),
        sa.PrimaryKeyConstraint("sequence", name="pk_executions"),
        sa.UniqueConstraint("id", name="uq_executions_id"),
    )
    op.create_index("ix_executions_status_sequence", "executions", ["status", "sequence"])
    op.create_table(
        "publications",
        sa.Column("execution_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("storage_type", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("manifest", sa.String, nullable=False),
        sa.Column("verified", sa.String, nullable=False),
        sa.Column("datasets", sa.JSON, nullable=False),
        sa.Column("upload_seconds", sa.Float),
        sa.Column("upload_bytes_per_second", sa.Float),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("execution_id", "attempt", name="pk_publications"),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name="fk_publications_execution_id", ondelete="CASCADE"
        ),
    )
