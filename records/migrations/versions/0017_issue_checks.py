"""What became of known issues, by model."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0017"
down_revision: str | None = "0016"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")

# The function is that of decisions and evaluations (0005).
_POSTGRESQL = [
    "CREATE TRIGGER issue_checks_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON issue_checks "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
]
_SQLITE = [
    f"CREATE TRIGGER issue_checks_refuses_{verb.lower()} BEFORE {verb} ON issue_checks "
    "BEGIN SELECT RAISE(ABORT, 'issue_checks is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]


def upgrade() -> None:
    """Create the table, which is append-only: what a model did is not changed by the next recheck."""
    op.create_table(
        "issue_checks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", Number, nullable=False),
        *(sa.Column(name, Key, nullable=False) for name in ("model", "issue", "state")),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
