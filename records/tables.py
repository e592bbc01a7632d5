"""The store's schema, one for SQLite and PostgreSQL. Times: UTC seconds; money: dollars; missing: NULL."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
)

metadata = MetaData()

outcomes = Table(
    "outcomes",
    metadata,
    Column("day", Integer, nullable=False),
    Column("exchange_id", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("canary", String, nullable=False),
    Column("run", Integer, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("share", Float, nullable=False),
    Column("arm", String, nullable=False),
    Column("served_by", String),
    Column("reason", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("session", String, nullable=False),
    Column("category", String, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("request_id", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("api", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("model_requested", String, nullable=False),
    Column("model", String, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("mirror", Boolean, nullable=False),
    Column("status", Integer),
    Column("outcome", String, nullable=False),
    Column("error_type", String),
    Column("latency_s", Float),
    Column("ttft_s", Float),
    Column("ttfb_s", Float),
    Column("overhead_s", Float),
    Column("input_tokens", Integer),
    Column("cached_input_tokens", Integer),
    Column("cache_write_tokens", Integer),
    Column("output_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("usage_estimated", Boolean, nullable=False),
    Column("cost_usd", Float),
    Column("attempts", JSON, nullable=False),
    PrimaryKeyConstraint("day", "exchange_id"),
    Index("outcomes_by_canary", "canary", "run", "at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("key", String, primary_key=True),
    Column("metric", String, nullable=False),
    Column("value", Float, nullable=False),
    Column("at", Float, nullable=False),
    Column("exchange_id", String, nullable=False),
    Column("session", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("canary", String, nullable=False),
    Column("run", Integer, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("arm", String),
    Column("category", String, nullable=False),
    Column("comment", Text, nullable=False),
    Index("feedback_by_canary", "canary", "metric"),
)

cursors = Table(
    "cursors",
    metadata,
    Column("file", String, primary_key=True),
    Column("offset", BigInteger, nullable=False),
)

states = Table(
    "states",
    metadata,
    Column("canary", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document", JSON, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("canary", String, nullable=False),
    Column("action", String, nullable=False),
    Column("who", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
)

rubrics = Table(
    "rubrics",
    metadata,
    Column("canary", String, primary_key=True),
    Column("fixed_at", Float, nullable=False),
    Column("sha256", String, nullable=False),
    Column("document", JSON, nullable=False),
)

for verb in ("UPDATE", "DELETE"):
    event.listen(
        audit,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER IF NOT EXISTS audit_refuses_{verb.lower()} BEFORE {verb} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        ).execute_if(dialect="sqlite"),
    )

totals = Table(
    "totals",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
