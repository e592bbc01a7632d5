"""Labels of captured pairs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")

_POSTGRESQL = [
    "CREATE TRIGGER labels_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON labels "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
]
_SQLITE = [
    f"CREATE TRIGGER labels_refuses_{verb.lower()} BEFORE {verb} ON labels "
    "BEGIN SELECT RAISE(ABORT, 'labels is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]


def upgrade() -> None:
    """Create the table, which is append-only."""
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", Number, nullable=False),
        sa.Column("canary", Key, nullable=False),
        sa.Column("exchange_id", Key, nullable=False),
        sa.Column("right", Key, nullable=False),
        sa.Column("who", sa.String, nullable=False),
    )
    op.create_index("labels_by_canary", "labels", ["canary", "id"])
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
