"""The leader's lease and checkpoint."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, DOUBLE_PRECISION

revision = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")
Bytes = sa.LargeBinary().with_variant(BYTEA(), "postgresql")


def upgrade() -> None:
    """Create two tables with one row each: a lease without a holder and an empty checkpoint."""
    op.create_table(
        "leases",
        sa.Column("name", Key, primary_key=True),
        sa.Column("holder", Key, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("refreshed_at", Number, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("name", Key, primary_key=True),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("saved_at", Number, nullable=False),
        sa.Column("document", Bytes, nullable=False),
    )
    op.execute("INSERT INTO leases (name, holder, term, refreshed_at) VALUES ('leader', '', 0, 0)")
    op.execute("INSERT INTO checkpoints (name, term, saved_at, document) VALUES ('leader', 0, 0, '')")
