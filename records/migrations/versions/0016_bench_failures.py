"""The wrong answers of stored benchmarks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0016"
down_revision: str | None = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")


def upgrade() -> None:
    """Create the table. Its rows expire, so it is not append-only."""
    op.create_table(
        "bench_failures",
        sa.Column("benchmark", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("expires_at", Number, nullable=False),
        sa.Column("rows", sa.JSON, nullable=False),
    )
    op.create_index("bench_failures_by_expiry", "bench_failures", ["expires_at"])
