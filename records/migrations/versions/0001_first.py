"""The schema of version 0.1, SQLite only. Databases of that version count as being at this step."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        _outcomes()
    _feedback()
    _small_tables()
    for statement in _AUDIT_SQLITE if sqlite else _AUDIT_POSTGRESQL:
        op.execute(statement)


def _outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("exchange_id", Key, nullable=False),
        sa.Column("at", Number, nullable=False),
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("share", Number, nullable=False),
        sa.Column("arm", Key, nullable=False),
        sa.Column("served_by", Key),
        sa.Column("reason", Key, nullable=False),
        sa.Column("unit", Key, nullable=False),
        sa.Column("session", Key, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("request_id", Key, nullable=False),
        sa.Column("provider", Key, nullable=False),
        sa.Column("api", Key, nullable=False),
        sa.Column("operation", Key, nullable=False),
        sa.Column("model_requested", Key, nullable=False),
        sa.Column("model", Key, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("mirror", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("outcome", Key, nullable=False),
        sa.Column("error_type", Key),
        sa.Column("latency_s", Number),
        sa.Column("ttft_s", Number),
        sa.Column("ttfb_s", Number),
        sa.Column("overhead_s", Number),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("cached_input_tokens", sa.Integer),
        sa.Column("cache_write_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("usage_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_usd", Number),
        sa.Column("attempts", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("day", "exchange_id"),
    )
    op.create_index("outcomes_by_canary", "outcomes", ["canary", "run", "at"])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("key", Key, primary_key=True),
        sa.Column("metric", Key, nullable=False),
        sa.Column("value", Number, nullable=False),
        sa.Column("at", Number, nullable=False),
        sa.Column("exchange_id", Key, nullable=False),
        sa.Column("session", Key, nullable=False),
        sa.Column("unit", Key, nullable=False),
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("arm", Key),
        sa.Column("category", Key, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_index("feedback_by_canary", "feedback", ["canary", "metric"])


def _small_tables() -> None:
    op.create_table(
        "cursors",
        sa.Column("file", sa.String, primary_key=True),
        sa.Column("offset", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "states",
        sa.Column("canary", Key, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", Number, nullable=False),
        sa.Column("canary", Key, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
    )
    op.create_table(
        "rubrics",
        sa.Column("canary", Key, primary_key=True),
        sa.Column("fixed_at", Number, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_table(
        "totals",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


_AUDIT_SQLITE = [
    f"CREATE TRIGGER audit_refuses_{verb.lower()} BEFORE {verb} ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]

_AUDIT_POSTGRESQL = [
    """
    CREATE FUNCTION canary_audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION canary_audit_refuses()
    """,
]
