"""The schema of the first release.

Its tables are a copy of `records.store.tables` as that was then: a step never changes once it is released.
"""

from collections.abc import Sequence

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import BYTEA, DOUBLE_PRECISION

revision = "v0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_METADATA = MetaData()
_BY_DAY = "RANGE (day)"
Key = String().with_variant(String(collation="C"), "postgresql")
Number = Float().with_variant(DOUBLE_PRECISION(), "postgresql")

_GROWING = (
    "benchmarks",
    "decisions",
    "evaluations",
    "issue_checks",
    "labels",
    "looks",
    "release_notes",
    "reports",
    "runs",
)
"""Tables whose rows neither change nor go."""


def upgrade() -> None:
    """Create the tables, what keeps their rows from changing, and one row each of leases and checkpoints."""
    connection = op.get_bind()
    _METADATA.create_all(connection, checkfirst=False)
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
    op.execute("INSERT INTO leases (name, holder, term, refreshed_at) VALUES ('leader', '', 0, 0)")
    op.execute("INSERT INTO checkpoints (name, term, saved_at, document) VALUES ('leader', 0, 0, '')")


def _key(name: str) -> Column[str]:
    return Column(name, Key, nullable=False)


def _number(name: str) -> Column[float]:
    return Column(name, Number, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary().with_variant(BYTEA(), "postgresql"), nullable=nullable)


Table(
    "fresh_outcomes",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rows", Integer, nullable=False),
    *(_number(name) for name in ("first_at", "last_at", "ended_at")),
    _bytes("outcomes"),
)

Table(
    "segments",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _key("path"),
    _key("state"),
    *(_number(name) for name in ("first_at", "last_at", "ended_at")),
    *(_count(name) for name in ("rows", "bytes")),
    _bytes("content", nullable=True),
    Index("segments_by_time", "last_at"),
)

Table(
    "failure_days",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    *(_key(name) for name in ("arm", "outcome", "error_type", "finish", "faults", "output_check")),
    *(Column(name, Boolean, nullable=False) for name in ("stream", "silent")),
    _count("exchanges"),
    Column("newest", Text, nullable=False),
    PrimaryKeyConstraint(
        "canary", "run", "day", "arm", "outcome", "error_type", "finish", "faults", "output_check", "stream",
        "silent",
    ),
)  # fmt: skip

Table(
    "model_days",
    _METADATA,
    Column("day", Integer, nullable=False),
    _key("canary"),
    Column("run", Integer, nullable=False),
    *(_key(name) for name in ("arm", "provider", "model_requested")),
    _number("first_at"),
    *(_count(name) for name in ("answered", "priced")),
    _number("cost_usd"),
    PrimaryKeyConstraint("day", "canary", "run", "arm", "provider", "model_requested"),
)

Table(
    "unit_days",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    Column("phase", Integer, nullable=False),
    _key("arm"),
    Column("mirror", Boolean, nullable=False),
    _key("unit"),
    Column("day", Integer, nullable=False),
    _key("category"),
    _key("tags"),
    _number("share"),
    _number("first_at"),
    _number("last_at"),
    _count("exchanges"),
    _count("counted"),
    _count("failed"),
    _count("latency_n"),
    _number("latency_sum"),
    _count("ttft_n"),
    _number("ttft_sum"),
    _count("cost_n"),
    _number("cost_sum"),
    _count("tokens_n"),
    _number("tokens_sum"),
    *(_bytes(name) for name in ("latency", "ttft")),
    *(_count(name) for name in ("finished", "refused", "cut_off", "empty", "answer_faults")),
    *(_count(name) for name in ("output_judged", "invalid_output", "ended", "abandoned")),
    PrimaryKeyConstraint("canary", "run", "phase", "arm", "mirror", "unit", "day", "category", "tags"),
    postgresql_partition_by=_BY_DAY,
)

# SQLite deletes old rows by query; PostgreSQL drops a day's partition.
Index("unit_days_by_day", _METADATA.tables["unit_days"].c.day).ddl_if(dialect="sqlite")

Table(
    "prior_weeks",
    _METADATA,
    Column("week", Integer, nullable=False),
    _key("provider"),
    _key("model"),
    _key("unit"),
    _number("last_at"),
    _count("counted"),
    _count("failed"),
    _count("latency_n"),
    _number("latency_sum"),
    _count("ttft_n"),
    _number("ttft_sum"),
    _count("cost_n"),
    _number("cost_sum"),
    _count("tokens_n"),
    _number("tokens_sum"),
    PrimaryKeyConstraint("week", "provider", "model", "unit"),
)

Table(
    "sessions",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("session"),
    _key("unit"),
    _key("arm"),
    Column("phase", Integer, nullable=False),
    _key("category"),
    _key("tags"),
    _number("first_at"),
    _number("last_at"),
    _count("exchanges"),
    _count("repeats"),
    Column("asked", Text, nullable=False),
    PrimaryKeyConstraint("canary", "run", "session"),
    Index("sessions_by_time", "first_at"),
)

Table(
    "feedback",
    _METADATA,
    Column("key", Key, primary_key=True),
    _key("metric"),
    _number("value"),
    _number("at"),
    _key("exchange_id"),
    _key("session"),
    _key("unit"),
    _key("canary"),
    Column("run", Integer, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("arm", Key),
    _key("category"),
    Column("comment", Text, nullable=False),
    Column("day", Integer),
    Index("feedback_by_canary", "canary", "metric", "run", "arm", "at"),
    Index("feedback_by_time", "at"),
)

Table(
    "cursors",
    _METADATA,
    _key("spool"),
    _key("file"),
    Column("offset", BigInteger, nullable=False),
    _number("moved_at"),
    PrimaryKeyConstraint("spool", "file"),
)

Table(
    "totals",
    _METADATA,
    _key("spool"),
    _key("name"),
    _count("value"),
    PrimaryKeyConstraint("spool", "name"),
)

Table(
    "states",
    _METADATA,
    Column("canary", Key, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document", JSON, nullable=False),
)

Table(
    "audit",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("canary"),
    Column("action", String, nullable=False),
    Column("who", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("minutes", Number),
)

Table(
    "rubrics",
    _METADATA,
    Column("canary", Key, primary_key=True),
    _number("fixed_at"),
    Column("sha256", String, nullable=False),
    Column("document", JSON, nullable=False),
)

Table(
    "leases",
    _METADATA,
    Column("name", Key, primary_key=True),
    _key("holder"),
    _count("term"),
    _number("refreshed_at"),
)

Table(
    "checkpoints",
    _METADATA,
    Column("name", Key, primary_key=True),
    _count("term"),
    _number("saved_at"),
    Column("document", LargeBinary().with_variant(BYTEA(), "postgresql"), nullable=False),
)

Table(
    "captures",
    _METADATA,
    Column("exchange_id", Key, primary_key=True),
    _key("copy_of"),
    _number("at"),
    Column("day", Integer, nullable=False),
    _number("expires_at"),
    _key("canary"),
    _key("category"),
    _key("kept"),
    Column("about", JSON, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("answer", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("request", Text),
    Index("captures_by_canary", "canary", "day", "category"),
    Index("captures_by_copy", "copy_of"),
    Index("captures_by_expiry", "expires_at"),
)

Table(
    "decisions",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("decision"),
    Column("who", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("despite", JSON),
)

Table(
    "evaluations",
    _METADATA,
    Column("key", Key, primary_key=True),
    _number("at"),
    _key("canary"),
    Column("document", JSON, nullable=False),
)

Table(
    "benchmarks",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("baseline"),
    _key("candidate"),
    Column("document", JSON, nullable=False),
    Index("benchmarks_by_candidate", "candidate", "at"),
)

Table(
    "releases",
    _METADATA,
    Column("id", Key, primary_key=True),
    _key("candidate"),
    _key("baseline"),
    _number("made_at"),
    Column("noticed_at", Number),
    Index("releases_by_models", "candidate", "baseline", unique=True),
)

Table(
    "runs",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("release"),
    _number("at"),
    PrimaryKeyConstraint("canary", "run"),
    Index("runs_by_release", "release"),
)

Table(
    "release_notes",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("release"),
    Column("who", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("minutes", Number),
    Index("release_notes_by_release", "release"),
)

Table(
    "bench_failures",
    _METADATA,
    Column("benchmark", Integer, primary_key=True, autoincrement=False),
    _number("expires_at"),
    Column("rows", JSON, nullable=False),
    Index("bench_failures_by_expiry", "expires_at"),
)

Table(
    "issue_checks",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("model"),
    _key("issue"),
    _key("state"),
)

Table(
    "looks",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("metric"),
    Column("day", Integer, nullable=False),
    _key("rubric_sha256"),
    _number("at"),
    Column("document", JSON, nullable=False),
    PrimaryKeyConstraint("canary", "run", "metric", "day", "rubric_sha256"),
)

Table(
    "reports",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("day"),
    _number("at"),
    _key("verdict"),
    Column("document", JSON, nullable=False),
    PrimaryKeyConstraint("canary", "run", "day"),
)

Table(
    "rollbacks",
    _METADATA,
    _key("canary"),
    Column("run", Integer, nullable=False),
    _number("at"),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("why", JSON, nullable=False),
    PrimaryKeyConstraint("canary", "run"),
)

Table(
    "labels",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("canary"),
    _key("exchange_id"),
    _key("right"),
    Column("who", String, nullable=False),
    _key("chosen"),
    Index("labels_by_canary", "canary", "id"),
)

Table(
    "judgements",
    _METADATA,
    Column("exchange_id", Key, primary_key=True),
    *(_key(name) for name in ("canary", "kind", "arm", "unit", "category")),
    Column("run", Integer, nullable=False),
    *(_number(name) for name in ("at", "asked_at")),
    *(_key(name) for name in ("judge", "words_sha256", "baseline", "candidate")),
    Column("baseline_length", Integer),
    Column("candidate_length", Integer),
    _key("result"),
    Column("mark", Number),
    Index("judgements_by_run", "canary", "run", "at"),
)

Table(
    "judge_calls",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _key("exchange_id"),
    Column("turn", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    *(_number(name) for name in ("at", "expires_at", "reserved_usd")),
    Column("cost_usd", Number),
    *(_key(name) for name in ("state", "said")),
    Column("reason", Text, nullable=False),
    Index("judge_calls_by_exchange", "exchange_id"),
    Index("judge_calls_by_day", "day"),
    Index("judge_calls_by_expiry", "expires_at"),
)

# A release changes once: when its baseline becomes known.
_SQLITE = [
    *(
        f"CREATE TRIGGER audit_refuses_{verb.lower()} BEFORE {verb} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    *(
        f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for table in _GROWING
        for verb in ("UPDATE", "DELETE")
    ),
    "CREATE TRIGGER releases_refuses_delete BEFORE DELETE ON releases "
    "BEGIN SELECT RAISE(ABORT, 'releases is append-only'); END",
    "CREATE TRIGGER releases_refuses_update BEFORE UPDATE ON releases WHEN OLD.baseline <> '' "
    "BEGIN SELECT RAISE(ABORT, 'releases is append-only'); END",
]

# A session's `asked` is the last 16 fingerprints, with a space between two. On SQLite the store brings the
# same two functions along, written in Python (records/store/database.py).
_POSTGRESQL = [
    "ALTER TABLE sessions SET (fillfactor = 80)",  # room on each page for the row's next version
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
    """
    CREATE FUNCTION canary_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    *(
        f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
        for table in _GROWING
    ),
    "CREATE TRIGGER releases_only_grows BEFORE DELETE OR TRUNCATE ON releases "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()",
    "CREATE TRIGGER releases_keep BEFORE UPDATE ON releases FOR EACH ROW WHEN (OLD.baseline <> '') "
    "EXECUTE FUNCTION canary_only_grows()",
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
