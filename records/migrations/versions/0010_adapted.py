"""Whether an exchange's request was changed by its arm's `request:`."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column. Nullable for the agents of the earlier version that still run, as in 0009."""
    op.add_column("outcomes", sa.Column("adapted", sa.Boolean, server_default=sa.false()))
