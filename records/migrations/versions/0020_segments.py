"""Outcomes as batches and segments, and totals of failures and models, in place of a row for each outcome."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, DOUBLE_PRECISION

revision = "0020"
down_revision: str | None = "0019"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")
Bytes = sa.LargeBinary().with_variant(BYTEA(), "postgresql")

_FAILURE = ("arm", "outcome", "error_type", "finish", "faults", "output_check")


def upgrade() -> None:
    """Create the tables. Outcomes that are there stay, under another name, until they are rolled; an agent of
    an earlier version cannot store any meanwhile, and keeps them in its spool."""
    _fresh_outcomes()
    _segments()
    _failure_days()
    _model_days()
    if op.get_bind().execute(sa.text("SELECT 1 FROM outcomes LIMIT 1")).first() is None:
        op.drop_table("outcomes")
    else:
        op.rename_table("outcomes", "old_outcomes")


def _fresh_outcomes() -> None:
    op.create_table(
        "fresh_outcomes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("rows", sa.Integer, nullable=False),
        *(sa.Column(name, Number, nullable=False) for name in ("first_at", "last_at", "ended_at")),
        sa.Column("outcomes", Bytes, nullable=False),
    )


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *(sa.Column(name, Key, nullable=False) for name in ("path", "state")),
        *(sa.Column(name, Number, nullable=False) for name in ("first_at", "last_at", "ended_at")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("rows", "bytes")),
        sa.Column("content", Bytes),
    )
    op.create_index("segments_by_time", "segments", ["last_at"])


def _failure_days() -> None:
    op.create_table(
        "failure_days",
        sa.Column("canary", Key, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("run", "day")),
        *(sa.Column(name, Key, nullable=False) for name in _FAILURE),
        *(sa.Column(name, sa.Boolean, nullable=False) for name in ("stream", "silent")),
        sa.Column("exchanges", sa.BigInteger, nullable=False),
        sa.Column("newest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("canary", "run", "day", *_FAILURE, "stream", "silent"),
    )


def _model_days() -> None:
    op.create_table(
        "model_days",
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        *(sa.Column(name, Key, nullable=False) for name in ("arm", "provider", "model_requested")),
        sa.Column("first_at", Number, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("answered", "priced")),
        sa.Column("cost_usd", Number, nullable=False),
        sa.PrimaryKeyConstraint("day", "canary", "run", "arm", "provider", "model_requested"),
    )
