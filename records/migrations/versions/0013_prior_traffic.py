"""What units did before a canary began: totals by week, provider entry and model."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")


def upgrade() -> None:
    """Create the table, empty: earlier exchanges without a canary were stored without their unit."""
    pairs = ("latency", "ttft", "cost", "tokens")
    op.create_table(
        "prior_weeks",
        sa.Column("week", sa.Integer, nullable=False),
        *(sa.Column(name, Key, nullable=False) for name in ("provider", "model", "unit")),
        sa.Column("last_at", Number, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("counted", "failed")),
        *(column for name in pairs for column in _pair(name)),
        sa.PrimaryKeyConstraint("week", "provider", "model", "unit"),
    )


def _pair(name: str) -> tuple[sa.Column[int], sa.Column[float]]:
    return (
        sa.Column(f"{name}_n", sa.BigInteger, nullable=False),
        sa.Column(f"{name}_sum", Number, nullable=False),
    )
