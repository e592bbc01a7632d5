"""Totals by unit and day, sessions, and support for many writers; partitions by day on PostgreSQL."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, DOUBLE_PRECISION

revision = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")
Bytes = sa.LargeBinary().with_variant(BYTEA(), "postgresql")


def upgrade() -> None:
    """Change the tables and keep their rows."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        op.add_column("outcomes", sa.Column("fingerprint", Key, nullable=False, server_default=""))
        op.drop_index("outcomes_by_canary", "outcomes")
    else:
        _outcomes()
        for statement in _FUNCTIONS_POSTGRESQL:
            op.execute(statement)
    op.create_index("outcomes_by_time", "outcomes", ["at"])
    _unit_days()
    if sqlite:
        op.create_index("unit_days_by_day", "unit_days", ["day"])
    _sessions()
    if not sqlite:  # room on each page for the row's next version, so that no index has to change
        op.execute("ALTER TABLE sessions SET (fillfactor = 80)")
    op.add_column("feedback", sa.Column("day", sa.Integer))
    op.create_index("feedback_by_time", "feedback", ["at"])
    _by_spool("cursors", "file", sa.String, "offset", sa.Column("moved_at", Number))
    _by_spool("totals", "name", sa.String, "value")


def _by_spool(table: str, key: str, kind: type[sa.String], value: str, *more: sa.Column[float]) -> None:
    """Add a spool column. Existing rows get an empty name; the first spool that starts adopts them."""
    op.rename_table(table, f"{table}_before")
    op.create_table(
        table,
        sa.Column("spool", Key, nullable=False),
        sa.Column(key, Key, nullable=False),
        sa.Column(value, sa.BigInteger, nullable=False),
        *more,
        sa.PrimaryKeyConstraint("spool", key),
    )
    quoted = f'"{value}"'
    op.execute(
        f"INSERT INTO {table} (spool, {key}, {quoted}) SELECT '', {key}, {quoted} FROM {table}_before"  # noqa: S608
    )
    op.drop_table(f"{table}_before")


def _unit_days() -> None:
    op.create_table(
        "unit_days",
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("arm", Key, nullable=False),
        sa.Column("mirror", sa.Boolean, nullable=False),
        sa.Column("unit", Key, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("tags", Key, nullable=False),
        sa.Column("share", Number, nullable=False),
        sa.Column("first_at", Number, nullable=False),
        sa.Column("last_at", Number, nullable=False),
        sa.Column("exchanges", sa.BigInteger, nullable=False),
        sa.Column("counted", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("latency_n", sa.BigInteger, nullable=False),
        sa.Column("latency_sum", Number, nullable=False),
        sa.Column("ttft_n", sa.BigInteger, nullable=False),
        sa.Column("ttft_sum", Number, nullable=False),
        sa.Column("cost_n", sa.BigInteger, nullable=False),
        sa.Column("cost_sum", Number, nullable=False),
        sa.Column("tokens_n", sa.BigInteger, nullable=False),
        sa.Column("tokens_sum", Number, nullable=False),
        sa.Column("latency", Bytes, nullable=False),
        sa.Column("ttft", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("canary", "run", "phase", "arm", "mirror", "unit", "day", "category", "tags"),
        postgresql_partition_by="RANGE (day)",
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("session", Key, nullable=False),
        sa.Column("unit", Key, nullable=False),
        sa.Column("arm", Key, nullable=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("tags", Key, nullable=False),
        sa.Column("first_at", Number, nullable=False),
        sa.Column("last_at", Number, nullable=False),
        sa.Column("exchanges", sa.BigInteger, nullable=False),
        sa.Column("repeats", sa.BigInteger, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("canary", "run", "session"),
    )
    op.create_index("sessions_by_time", "sessions", ["first_at"])


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
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("cached_input_tokens", sa.BigInteger),
        sa.Column("cache_write_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger),
        sa.Column("usage_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_usd", Number),
        sa.Column("attempts", sa.JSON, nullable=False),
        sa.Column("fingerprint", Key, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("day", "exchange_id"),
        postgresql_partition_by="RANGE (day)",
    )


# A session's `asked` is the last 16 fingerprints, with a space between two. On SQLite the store brings the
# same two functions along, written in Python (records/store/asked.py).
_FUNCTIONS_POSTGRESQL = [
    """
    CREATE FUNCTION canary_seen(asked text, again text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
        SELECT count(*) FROM unnest(string_to_array(again, ' ')) AS one(fingerprint)
        WHERE fingerprint = ANY (string_to_array(asked, ' '))
    $$
    """,
    """
    CREATE FUNCTION canary_asked(asked text, again text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT coalesce(string_agg(fingerprint, ' ' ORDER BY last), '') FROM (
            SELECT fingerprint, max(place) AS last
            FROM unnest(string_to_array(asked, ' ') || string_to_array(again, ' '))
                WITH ORDINALITY AS one(fingerprint, place)
            GROUP BY fingerprint ORDER BY last DESC LIMIT 16
        ) AS newest
    $$
    """,
]
