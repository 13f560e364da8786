"""How often a computation died: a number beside that of the attempts, which retries count up as well."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; what has died before has all its attempts again."""
    op.add_column("executions", sa.Column("deaths", sa.Integer, nullable=False, server_default="0"))
