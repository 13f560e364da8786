"""What ran: one column that holds all of it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; of what ran before, nothing is known."""
    op.add_column("executions", sa.Column("provenance", sa.JSON))
