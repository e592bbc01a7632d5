"""The reports that the report job makes, one a day of each run."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0015"
down_revision: str | None = "0014"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")

# The function for tables that only grow is that of decisions and evaluations (0005).
_POSTGRESQL = [
    "CREATE TRIGGER reports_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON reports "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
]
_SQLITE = [
    f"CREATE TRIGGER reports_refuses_{verb.lower()} BEFORE {verb} ON reports "
    "BEGIN SELECT RAISE(ABORT, 'reports is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]


def upgrade() -> None:
    """Create the table. It only grows."""
    op.create_table(
        "reports",
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("day", Key, nullable=False),
        sa.Column("at", Number, nullable=False),
        sa.Column("verdict", Key, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("canary", "run", "day"),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
