"""Captured exchanges: redacted texts, each with its own expiry."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "captures",
        sa.Column("exchange_id", Key, primary_key=True),
        sa.Column("copy_of", Key, nullable=False),
        sa.Column("at", Number, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("expires_at", Number, nullable=False),
        sa.Column("canary", Key, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("kept", Key, nullable=False),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("messages", sa.JSON, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("truncated", sa.Boolean, nullable=False),
    )
    op.create_index("captures_by_canary", "captures", ["canary", "day", "category"])
    op.create_index("captures_by_copy", "captures", ["copy_of"])
    op.create_index("captures_by_expiry", "captures", ["expires_at"])
