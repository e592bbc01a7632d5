"""How answers ended, what was wrong with them, and what providers said; indexes by canary."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")

_COUNTS = (
    *("finished", "refused", "cut_off", "empty", "answer_faults"),
    *("output_judged", "invalid_output", "ended", "abandoned"),
)
_FAULTY = sa.text("(error_type IS NOT NULL OR faults <> '')")


def upgrade() -> None:
    """Add the columns. In older rows nothing counts as read, so that nothing counts as healthy.

    They are nullable for the agents of the earlier version that still run: their COPY goes through a table
    with the same columns, but without the defaults.
    """
    for column in _of_outcomes():
        op.add_column("outcomes", column)
    for name in _COUNTS:
        op.add_column("unit_days", sa.Column(name, sa.BigInteger, server_default="0"))
    op.drop_index("outcomes_by_time", "outcomes")
    op.create_index("outcomes_by_canary", "outcomes", ["canary", "at"])
    op.create_index(
        "outcomes_faulty", "outcomes", ["canary", "run", "at"], sqlite_where=_FAULTY, postgresql_where=_FAULTY
    )
    op.drop_index("feedback_by_canary", "feedback")
    op.create_index("feedback_by_canary", "feedback", ["canary", "metric", "run", "arm", "at"])


def _of_outcomes() -> list[sa.Column[str]]:
    return [
        sa.Column("finish", Key),
        sa.Column("faults", Key, server_default=""),
        sa.Column("output_check", Key, server_default=""),
        sa.Column("provider_error_code", sa.String),
        sa.Column("provider_error_type", sa.String),
        sa.Column("provider_error_param", sa.String),
        sa.Column("provider_error_message", sa.Text),
    ]
