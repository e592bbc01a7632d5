"""The captured request in its own wire form, for preflights."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column. Older captures do not have the request."""
    op.add_column("captures", sa.Column("request", sa.Text))
