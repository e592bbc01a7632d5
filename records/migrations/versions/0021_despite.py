"""The misses that a decision to ship outweighs, as they stood."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision: str | None = "0020"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column. Decisions of before named no miss, and outweigh nothing."""
    op.add_column("decisions", sa.Column("despite", sa.JSON))
