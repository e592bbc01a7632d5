"""Why a pair was put before its labeller."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision: str | None = "0018"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column. Labels of before were all asked in the usual order, which is ""."""
    op.add_column("labels", sa.Column("chosen", Key, nullable=False, server_default=""))
