"""The looks of a verdict's plan."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")

# The function is that of decisions and evaluations (0005).
_POSTGRESQL = [
    "CREATE TRIGGER looks_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON looks "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
]
_SQLITE = [
    f"CREATE TRIGGER looks_refuses_{verb.lower()} BEFORE {verb} ON looks "
    "BEGIN SELECT RAISE(ABORT, 'looks is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]


def upgrade() -> None:
    """Create the table, which is append-only: what a look saw never changes."""
    op.create_table(
        "looks",
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("metric", Key, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("rubric_sha256", Key, nullable=False),
        sa.Column("at", Number, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("canary", "run", "metric", "day", "rubric_sha256"),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
