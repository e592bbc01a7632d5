"""The current schema of the store, for SQLite and PostgreSQL. `migrations/` upgrades older databases.

Times are UTC seconds, days UTC day numbers (at // 86400), money dollars, missing values NULL. See
docs/records.md.
"""

from typing import Any

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
from sqlalchemy.schema import SchemaItem

metadata = MetaData()

_BY_DAY = "RANGE (day)"
Key = String().with_variant(String(collation="C"), "postgresql")
"""Text compared byte by byte, which PostgreSQL sorts several times faster than with a locale."""

Number = Float().with_variant(DOUBLE_PRECISION(), "postgresql")


def _key(name: str) -> Column[str]:
    return Column(name, Key, nullable=False)


def _number(name: str) -> Column[float]:
    return Column(name, Number, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _table(name: str, *items: SchemaItem, **options: Any) -> Table:
    return Table(name, metadata, *items, **options)


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary().with_variant(BYTEA(), "postgresql"), nullable=nullable)


def _spent(of: str = "") -> list[Column[Any]]:
    """Known costs and tokens: how many, and their sum."""
    sums = ((_count(f"{of}{each}_n"), _number(f"{of}{each}_sum")) for each in ("cost", "tokens"))
    return [column for pair in sums for column in pair]


def _measured() -> list[Column[Any]]:
    """What a unit's exchanges that the arm answered or failed add up to."""
    times = (_count("latency_n"), _number("latency_sum"), _count("ttft_n"), _number("ttft_sum"))
    return [_count("counted"), _count("failed"), *times, *_spent()]


fresh_outcomes = _table(
    "fresh_outcomes",
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rows", Integer, nullable=False),
    *(_number(name) for name in ("first_at", "last_at", "ended_at")),
    _bytes("outcomes"),
)

segments = _table(
    "segments",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _key("path"),
    _key("state"),
    *(_number(name) for name in ("first_at", "last_at", "ended_at")),
    *(_count(name) for name in ("rows", "bytes")),
    _bytes("content", nullable=True),
    Index("segments_by_time", "last_at"),
)

failure_days = _table(
    "failure_days",
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

model_days = _table(
    "model_days",
    Column("day", Integer, nullable=False),
    _key("canary"),
    Column("run", Integer, nullable=False),
    *(_key(name) for name in ("arm", "provider", "model_requested")),
    _number("first_at"),
    *(_count(name) for name in ("answered", "priced")),
    _number("cost_usd"),
    PrimaryKeyConstraint("day", "canary", "run", "arm", "provider", "model_requested"),
)

served_models = _table(
    "served_models",
    *(_key(name) for name in ("provider", "model", "served")),
    Column("day", Integer, nullable=False),
    _number("first_at"),
    _count("answered"),
    PrimaryKeyConstraint("provider", "model", "served", "day"),
)
"""The models that answers name, by the entry and the model that was asked; and fingerprints of systems."""

model_changes = _table(
    "model_changes",
    *(_key(name) for name in ("model", "kind", "now")),
    _key("before"),
    _number("at"),
    Column("document", JSON, nullable=False),
    PrimaryKeyConstraint("model", "kind", "now"),
)
"""What became of `provider/model` under its name: another name in its answers, or other answers."""

probe_rounds = _table(
    "probe_rounds",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _key("model"),
    _number("at"),
    Column("day", Integer, nullable=False),
    _number("reserved_usd"),
    Column("cost_usd", Number),
    Column("answers", JSON),
    Index("probe_rounds_by_model", "model", "at"),
    Index("probe_rounds_by_day", "day"),
)

unit_days = _table(
    "unit_days",
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
    *_measured(),
    *(_bytes(name) for name in ("latency", "ttft")),
    *(_count(name) for name in ("finished", "refused", "cut_off", "empty", "answer_faults")),
    *(_count(name) for name in ("output_judged", "invalid_output", "ended", "abandoned")),
    *(_count(name) for name in ("input_tokens", "cached_tokens", "sessionless")),
    *_spent("sessionless_"),
    *(_count(f"sessionless_{name}") for name in ("tool_calls", "faulty", "abandoned")),
    PrimaryKeyConstraint("canary", "run", "phase", "arm", "mirror", "unit", "day", "category", "tags"),
    postgresql_partition_by=_BY_DAY,
)

# SQLite deletes old rows by query; PostgreSQL drops a day's partition.
Index("unit_days_by_day", unit_days.c.day).ddl_if(dialect="sqlite")

prior_weeks = _table(
    "prior_weeks",
    Column("week", Integer, nullable=False),
    _key("provider"),
    _key("model"),
    _key("unit"),
    _number("last_at"),
    *_measured(),
    PrimaryKeyConstraint("week", "provider", "model", "unit"),
)

sessions = _table(
    "sessions",
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
    *_spent(),
    *(_count(name) for name in ("input_tokens", "cached_tokens", "tool_calls", "faulty")),
    Column("abandoned", Boolean, nullable=False),
    PrimaryKeyConstraint("canary", "run", "session"),
    Index("sessions_by_time", "first_at"),
)

feedback = _table(
    "feedback",
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

cursors = _table(
    "cursors",
    _key("spool"),
    _key("file"),
    Column("offset", BigInteger, nullable=False),
    _number("moved_at"),
    PrimaryKeyConstraint("spool", "file"),
)

totals = _table(
    "totals",
    _key("spool"),
    _key("name"),
    _count("value"),
    PrimaryKeyConstraint("spool", "name"),
)

states = _table(
    "states",
    Column("canary", Key, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document", JSON, nullable=False),
)

arm_texts = _table(
    "arm_texts",
    Column("canary", Key, primary_key=True),
    _key("definition"),
    Column("texts", JSON, nullable=False),
)
"""The texts of a canary's arms by file, as `records.store.arm_texts` keeps them."""

standing = _table(
    "standing",
    Column("canary", Key, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document", JSON, nullable=False),
)

audit = _table(
    "audit",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("canary"),
    Column("action", String, nullable=False),
    Column("who", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("minutes", Number),
    _key("stage"),
    _key("against"),
)

rubrics = _table(
    "rubrics",
    Column("canary", Key, primary_key=True),
    _number("fixed_at"),
    Column("sha256", String, nullable=False),
    Column("document", JSON, nullable=False),
)

leases = _table(
    "leases",
    Column("name", Key, primary_key=True),
    _key("holder"),
    _count("term"),
    _number("refreshed_at"),
)

checkpoints = _table(
    "checkpoints",
    Column("name", Key, primary_key=True),
    _count("term"),
    _number("saved_at"),
    Column("document", LargeBinary().with_variant(BYTEA(), "postgresql"), nullable=False),
)

captures = _table(
    "captures",
    Column("exchange_id", Key, primary_key=True),
    _key("copy_of"),
    _number("at"),
    Column("day", Integer, nullable=False),
    _number("expires_at"),
    _key("canary"),
    _key("category"),
    _key("session"),
    _key("kept"),
    Column("about", JSON, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("answer", Text, nullable=False),
    Column("answer_calls", JSON, nullable=False),
    Column("tools", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("request", Text),
    Index("captures_by_canary", "canary", "day", "category"),
    Index("captures_by_session", "canary", "session"),
    Index("captures_by_copy", "copy_of"),
    Index("captures_by_expiry", "expires_at"),
)

decisions = _table(
    "decisions",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("decision"),
    Column("who", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("despite", JSON),
)

evaluations = _table(
    "evaluations",
    Column("key", Key, primary_key=True),
    _number("at"),
    _key("canary"),
    Column("document", JSON, nullable=False),
)

benchmarks = _table(
    "benchmarks",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("baseline"),
    _key("candidate"),
    Column("document", JSON, nullable=False),
    Index("benchmarks_by_candidate", "candidate", "at"),
)

releases = _table(
    "releases",
    Column("id", Key, primary_key=True),
    _key("candidate"),
    _key("baseline"),
    _number("made_at"),
    Column("noticed_at", Number),
    Index("releases_by_models", "candidate", "baseline", unique=True),
)

retirements = _table(
    "retirements",
    Column("model", Key, primary_key=True),
    _key("last_day"),
    _key("successor"),
)

runs = _table(
    "runs",
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("release"),
    _number("at"),
    _key("fingerprint"),
    PrimaryKeyConstraint("canary", "run"),
    Index("runs_by_release", "release"),
)

pages = _table(
    "pages",
    Column("key", Key, primary_key=True),
    _number("at"),
    _key("canary"),
    _key("event"),
    Column("title", Text, nullable=False),
    Index("pages_by_canary", "canary", "at"),
)

release_notes = _table(
    "release_notes",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("release"),
    Column("who", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("minutes", Number),
    _key("stage"),
    Index("release_notes_by_release", "release"),
)

bench_failures = _table(
    "bench_failures",
    Column("benchmark", Key, primary_key=True),
    _number("expires_at"),
    Column("rows", JSON, nullable=False),
    Index("bench_failures_by_expiry", "expires_at"),
)
"""The wrong answers of a benchmark, by its id, or by the candidate's name, MODEL@DAY, after a drift: its
benchmark is made when all answers are there."""

bench_marks = _table(
    "bench_marks",
    *(_key(name) for name in ("model", "example")),
    _number("at"),
    Column("mark", JSON, nullable=False),
    PrimaryKeyConstraint("model", "example"),
)
"""What each model's newest answer to an example was worth, without texts."""

known_issues = _table(
    "known_issues",
    Column("hash", Key, primary_key=True),
    _number("at"),
    Column("who", String, nullable=False),
    _key("mode"),
    _key("source"),
    Column("description", Text, nullable=False),
    Column("since", String, nullable=False),
    Column("error", String, nullable=False),
    Column("example", JSON, nullable=False),
    Index("known_issues_by_source", "mode", "source", unique=True),
)

issue_checks = _table(
    "issue_checks",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("model"),
    _key("issue"),
    _key("state"),
)

looks = _table(
    "looks",
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("metric"),
    Column("day", Integer, nullable=False),
    _key("rubric_sha256"),
    _number("at"),
    Column("document", JSON, nullable=False),
    PrimaryKeyConstraint("canary", "run", "metric", "day", "rubric_sha256"),
)

reports = _table(
    "reports",
    _key("canary"),
    Column("run", Integer, nullable=False),
    _key("day"),
    _number("at"),
    _key("verdict"),
    Column("document", JSON, nullable=False),
    PrimaryKeyConstraint("canary", "run", "day"),
)

rollbacks = _table(
    "rollbacks",
    _key("canary"),
    Column("run", Integer, nullable=False),
    _number("at"),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("why", JSON, nullable=False),
    PrimaryKeyConstraint("canary", "run"),
)

labels = _table(
    "labels",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _number("at"),
    _key("canary"),
    _key("exchange_id"),
    _key("right"),
    Column("who", String, nullable=False),
    _key("chosen"),
    Index("labels_by_canary", "canary", "id"),
)

judgements = _table(
    "judgements",
    Column("exchange_id", Key, primary_key=True),
    *(_key(name) for name in ("canary", "kind", "arm", "unit", "category")),
    Column("run", Integer, nullable=False),
    *(_number(name) for name in ("at", "asked_at")),
    *(_key(name) for name in ("judge", "words_sha256", "baseline", "candidate")),
    Column("baseline_length", Integer),
    Column("candidate_length", Integer),
    _key("result"),
    Column("mark", Number),
    Column("done", Boolean),
    Index("judgements_by_run", "canary", "run", "at"),
)

judge_calls = _table(
    "judge_calls",
    Column("id", Integer, primary_key=True, autoincrement=True),
    _key("exchange_id"),
    Column("turn", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    *(_number(name) for name in ("at", "expires_at", "reserved_usd")),
    Column("cost_usd", Number),
    *(_key(name) for name in ("state", "said", "request_id")),
    Column("reason", Text, nullable=False),
    Index("judge_calls_by_exchange", "exchange_id"),
    Index("judge_calls_by_day", "day"),
    Index("judge_calls_by_expiry", "expires_at"),
)

PARTITIONED: tuple[Table, ...] = (unit_days,)
"""Tables partitioned by day on PostgreSQL."""
