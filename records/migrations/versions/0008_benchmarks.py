"""Finished benchmarks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")

# The function is that of decisions and evaluations (0005).
_POSTGRESQL = [
    "CREATE TRIGGER benchmarks_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON benchmarks "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
]
_SQLITE = [
    f"CREATE TRIGGER benchmarks_refuses_{verb.lower()} BEFORE {verb} ON benchmarks "
    "BEGIN SELECT RAISE(ABORT, 'benchmarks is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]


def upgrade() -> None:
    """Create the table, which is append-only."""
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", Number, nullable=False),
        sa.Column("baseline", Key, nullable=False),
        sa.Column("candidate", Key, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_index("benchmarks_by_candidate", "benchmarks", ["candidate", "at"])
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
