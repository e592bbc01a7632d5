"""What a judge said of captured answers, and what each of its calls cost."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0018"
down_revision: str | None = "0017"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "judgements",
        sa.Column("exchange_id", Key, primary_key=True),
        *(sa.Column(name, Key, nullable=False) for name in ("canary", "kind", "arm", "unit", "category")),
        sa.Column("run", sa.Integer, nullable=False),
        *(sa.Column(name, Number, nullable=False) for name in ("at", "asked_at")),
        *(sa.Column(name, Key, nullable=False) for name in ("judge", "words_sha256")),
        *(sa.Column(name, Key, nullable=False) for name in ("baseline", "candidate")),
        *(sa.Column(name, sa.Integer) for name in ("baseline_length", "candidate_length")),
        sa.Column("result", Key, nullable=False),
        sa.Column("mark", Number),
    )
    op.create_index("judgements_by_run", "judgements", ["canary", "run", "at"])
    op.create_table(
        "judge_calls",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("exchange_id", Key, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("turn", "day")),
        *(sa.Column(name, Number, nullable=False) for name in ("at", "expires_at", "reserved_usd")),
        sa.Column("cost_usd", Number),
        *(sa.Column(name, Key, nullable=False) for name in ("state", "said")),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("judge_calls_by_exchange", "judge_calls", ["exchange_id"])
    op.create_index("judge_calls_by_day", "judge_calls", ["day"])
    op.create_index("judge_calls_by_expiry", "judge_calls", ["expires_at"])
