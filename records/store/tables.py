"""The current schema of the store, for SQLite and PostgreSQL. `migrations/` upgrades older databases.

Times are UTC seconds, days UTC day numbers (at // 86400), money dollars, missing values NULL. See
docs/records.md.
"""

from collections.abc import Callable
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


def _columns(kind: Any) -> Callable[..., list[Column[Any]]]:
    """Makes columns of this type, none of which may be NULL, by their names."""
    return lambda *names: [Column(name, kind, nullable=False) for name in names]


_keys, _numbers, _integers, _counts = map(_columns, (Key, Number, Integer, BigInteger))
_texts, _strings, _flags, _documents = map(_columns, (Text, String, Boolean, JSON))


def _table(name: str, *items: SchemaItem, **options: Any) -> Table:
    return Table(name, metadata, *items, **options)


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary().with_variant(BYTEA(), "postgresql"), nullable=nullable)


def _spent(of: str = "") -> list[Column[Any]]:
    """Known costs and tokens: how many, and their sum."""
    sums = ([*_counts(f"{of}{each}_n"), *_numbers(f"{of}{each}_sum")] for each in ("cost", "tokens"))
    return [column for pair in sums for column in pair]


def _measured() -> list[Column[Any]]:
    """What a unit's exchanges that the arm answered or failed add up to."""
    times = ([*_counts(f"{each}_n"), *_numbers(f"{each}_sum")] for each in ("latency", "ttft"))
    return [*_counts("counted", "failed"), *(column for pair in times for column in pair), *_spent()]


fresh_outcomes = _table(
    "fresh_outcomes",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_integers("rows"),
    *_numbers("first_at", "last_at", "ended_at"),
    _bytes("outcomes"),
)

segments = _table(
    "segments",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_keys("path", "state"),
    *_numbers("first_at", "last_at", "ended_at"),
    *_counts("rows", "bytes"),
    _bytes("content", nullable=True),
    Index("segments_by_time", "last_at"),
)

failure_days = _table(
    "failure_days",
    *_keys("canary"),
    *_integers("run", "day"),
    *_keys("arm", "outcome", "error_type", "finish", "faults", "output_check"),
    *_flags("stream", "silent"),
    *_counts("exchanges"),
    *_texts("newest"),
    PrimaryKeyConstraint(
        "canary", "run", "day", "arm", "outcome", "error_type", "finish", "faults", "output_check", "stream",
        "silent",
    ),
)  # fmt: skip

model_days = _table(
    "model_days",
    *_integers("day"),
    *_keys("canary"),
    *_integers("run"),
    *_keys("arm", "provider", "model_requested"),
    *_numbers("first_at"),
    *_counts("answered", "priced"),
    *_numbers("cost_usd"),
    PrimaryKeyConstraint("day", "canary", "run", "arm", "provider", "model_requested"),
)

served_models = _table(
    "served_models",
    *_keys("provider", "model", "served"),
    *_integers("day"),
    *_numbers("first_at"),
    *_counts("answered"),
    PrimaryKeyConstraint("provider", "model", "served", "day"),
)
"""The models that answers name, by the entry and the model that was asked; and fingerprints of systems."""

model_changes = _table(
    "model_changes",
    *_keys("model", "kind", "now", "before"),
    *_numbers("at"),
    *_documents("document"),
    PrimaryKeyConstraint("model", "kind", "now"),
)
"""What became of `provider/model` under its name: another name in its answers, or other answers."""

probe_rounds = _table(
    "probe_rounds",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_keys("model"),
    *_numbers("at"),
    *_integers("day"),
    *_numbers("reserved_usd"),
    Column("cost_usd", Number),
    Column("answers", JSON),
    Index("probe_rounds_by_model", "model", "at"),
    Index("probe_rounds_by_day", "day"),
)

unit_days = _table(
    "unit_days",
    *_keys("canary"),
    *_integers("run", "phase"),
    *_keys("arm"),
    *_flags("mirror"),
    *_keys("unit"),
    *_integers("day"),
    *_keys("category", "tags"),
    *_numbers("share", "first_at", "last_at"),
    *_counts("exchanges"),
    *_measured(),
    *(_bytes(name) for name in ("latency", "ttft")),
    *_counts(
        "finished",
        "refused",
        "cut_off",
        "empty",
        "answer_faults",
        "output_judged",
        "invalid_output",
        "ended",
        "abandoned",
        "input_tokens",
        "cached_tokens",
        "sessionless",
    ),
    *_spent("sessionless_"),
    *_counts(*(f"sessionless_{name}" for name in ("tool_calls", "faulty", "abandoned"))),
    PrimaryKeyConstraint("canary", "run", "phase", "arm", "mirror", "unit", "day", "category", "tags"),
    postgresql_partition_by=_BY_DAY,
)

# SQLite deletes old rows by query; PostgreSQL drops a day's partition.
Index("unit_days_by_day", unit_days.c.day).ddl_if(dialect="sqlite")

prior_weeks = _table(
    "prior_weeks",
    *_integers("week"),
    *_keys("provider", "model", "unit"),
    *_numbers("last_at"),
    *_measured(),
    PrimaryKeyConstraint("week", "provider", "model", "unit"),
)

sessions = _table(
    "sessions",
    *_keys("canary"),
    *_integers("run"),
    *_keys("session", "unit", "arm"),
    *_integers("phase"),
    *_keys("category", "tags"),
    *_numbers("first_at", "last_at"),
    *_counts("exchanges", "repeats"),
    *_texts("asked"),
    *_spent(),
    *_counts("input_tokens", "cached_tokens", "tool_calls", "faulty"),
    *_flags("abandoned"),
    PrimaryKeyConstraint("canary", "run", "session"),
    Index("sessions_by_time", "first_at"),
)

feedback = _table(
    "feedback",
    Column("key", Key, primary_key=True),
    *_keys("metric"),
    *_numbers("value", "at"),
    *_keys("exchange_id", "session", "unit", "canary"),
    *_integers("run", "phase"),
    Column("arm", Key),
    *_keys("category"),
    *_texts("comment"),
    Column("day", Integer),
    Index("feedback_by_canary", "canary", "metric", "run", "arm", "at"),
    Index("feedback_by_time", "at"),
)

cursors = _table(
    "cursors",
    *_keys("spool", "file"),
    *_counts("offset"),
    *_numbers("moved_at"),
    PrimaryKeyConstraint("spool", "file"),
)

totals = _table(
    "totals",
    *_keys("spool", "name"),
    *_counts("value"),
    PrimaryKeyConstraint("spool", "name"),
)

states = _table(
    "states",
    Column("canary", Key, primary_key=True),
    *_integers("version"),
    *_documents("document"),
)

arm_texts = _table(
    "arm_texts",
    Column("canary", Key, primary_key=True),
    *_keys("definition"),
    *_documents("texts"),
)
"""The texts of a canary's arms by file, as `records.store.arm_texts` keeps them."""

standing = _table(
    "standing",
    Column("canary", Key, primary_key=True),
    *_integers("version"),
    *_documents("document"),
)

audit = _table(
    "audit",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_numbers("at"),
    *_keys("canary"),
    *_strings("action", "who"),
    *_texts("reason"),
    *_documents("before", "after"),
    Column("minutes", Number),
    *_keys("stage", "against"),
)

rubrics = _table(
    "rubrics",
    Column("canary", Key, primary_key=True),
    *_numbers("fixed_at"),
    *_strings("sha256"),
    *_documents("document"),
)

leases = _table(
    "leases",
    Column("name", Key, primary_key=True),
    *_keys("holder"),
    *_counts("term"),
    *_numbers("refreshed_at"),
)

checkpoints = _table(
    "checkpoints",
    Column("name", Key, primary_key=True),
    *_counts("term"),
    *_numbers("saved_at"),
    _bytes("document"),
)

captures = _table(
    "captures",
    Column("exchange_id", Key, primary_key=True),
    *_keys("copy_of"),
    *_numbers("at"),
    *_integers("day"),
    *_numbers("expires_at"),
    *_keys("canary", "category", "session", "kept"),
    *_documents("about", "messages"),
    *_texts("answer"),
    *_documents("answer_calls"),
    *_texts("tools"),
    *_flags("truncated"),
    Column("request", Text),
    Index("captures_by_canary", "canary", "day", "category"),
    Index("captures_by_session", "canary", "session"),
    Index("captures_by_copy", "copy_of"),
    Index("captures_by_expiry", "expires_at"),
)

decisions = _table(
    "decisions",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_numbers("at"),
    *_keys("canary"),
    *_integers("run"),
    *_keys("decision"),
    *_strings("who"),
    *_texts("reason"),
    Column("despite", JSON),
)

evaluations = _table(
    "evaluations",
    Column("key", Key, primary_key=True),
    *_numbers("at"),
    *_keys("canary"),
    *_documents("document"),
)

benchmarks = _table(
    "benchmarks",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_numbers("at"),
    *_keys("baseline", "candidate"),
    *_documents("document"),
    Index("benchmarks_by_candidate", "candidate", "at"),
)

releases = _table(
    "releases",
    Column("id", Key, primary_key=True),
    *_keys("candidate", "baseline"),
    *_numbers("made_at"),
    Column("noticed_at", Number),
    Index("releases_by_models", "candidate", "baseline", unique=True),
)

retirements = _table(
    "retirements",
    Column("model", Key, primary_key=True),
    *_keys("last_day", "successor"),
)

runs = _table(
    "runs",
    *_keys("canary"),
    *_integers("run"),
    *_keys("release"),
    *_numbers("at"),
    *_keys("fingerprint"),
    PrimaryKeyConstraint("canary", "run"),
    Index("runs_by_release", "release"),
)

pages = _table(
    "pages",
    Column("key", Key, primary_key=True),
    *_numbers("at"),
    *_keys("canary", "event"),
    *_texts("title"),
    Index("pages_by_canary", "canary", "at"),
)

release_notes = _table(
    "release_notes",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_numbers("at"),
    *_keys("release"),
    *_strings("who"),
    *_texts("text"),
    Column("minutes", Number),
    *_keys("stage"),
    Index("release_notes_by_release", "release"),
)

bench_failures = _table(
    "bench_failures",
    Column("benchmark", Key, primary_key=True),
    *_numbers("expires_at"),
    *_documents("rows"),
    Index("bench_failures_by_expiry", "expires_at"),
)
"""The wrong answers of a benchmark, by its id, or by the candidate's name, MODEL@DAY, after a drift: its
benchmark is made when all answers are there."""

bench_marks = _table(
    "bench_marks",
    *_keys("model", "example"),
    *_numbers("at"),
    *_documents("mark"),
    PrimaryKeyConstraint("model", "example"),
)
"""What each model's newest answer to an example was worth, without texts."""

known_issues = _table(
    "known_issues",
    Column("hash", Key, primary_key=True),
    *_numbers("at"),
    *_strings("who"),
    *_keys("mode", "source"),
    *_texts("description"),
    *_strings("since", "error"),
    *_documents("example"),
    Index("known_issues_by_source", "mode", "source", unique=True),
)

issue_checks = _table(
    "issue_checks",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_numbers("at"),
    *_keys("model", "issue", "state"),
)

looks = _table(
    "looks",
    *_keys("canary"),
    *_integers("run"),
    *_keys("metric"),
    *_integers("day"),
    *_keys("rubric_sha256"),
    *_numbers("at"),
    *_documents("document"),
    PrimaryKeyConstraint("canary", "run", "metric", "day", "rubric_sha256"),
)

reports = _table(
    "reports",
    *_keys("canary"),
    *_integers("run"),
    *_keys("day"),
    *_numbers("at"),
    *_keys("verdict"),
    *_documents("document"),
    PrimaryKeyConstraint("canary", "run", "day"),
)

rollbacks = _table(
    "rollbacks",
    *_keys("canary"),
    *_integers("run"),
    *_numbers("at"),
    *_documents("before", "after", "why"),
    PrimaryKeyConstraint("canary", "run"),
)

labels = _table(
    "labels",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_numbers("at"),
    *_keys("canary", "exchange_id", "right"),
    *_strings("who"),
    *_keys("chosen"),
    Index("labels_by_canary", "canary", "id"),
)

judgements = _table(
    "judgements",
    Column("exchange_id", Key, primary_key=True),
    *_keys("canary", "kind", "arm", "unit", "category"),
    *_integers("run"),
    *_numbers("at", "asked_at"),
    *_keys("judge", "words_sha256", "baseline", "candidate"),
    Column("baseline_length", Integer),
    Column("candidate_length", Integer),
    *_keys("result"),
    Column("mark", Number),
    Column("done", Boolean),
    Index("judgements_by_run", "canary", "run", "at"),
)

judge_calls = _table(
    "judge_calls",
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_keys("exchange_id"),
    *_integers("turn", "day"),
    *_numbers("at", "expires_at", "reserved_usd"),
    Column("cost_usd", Number),
    *_keys("state", "said", "request_id"),
    *_texts("reason"),
    Index("judge_calls_by_exchange", "exchange_id"),
    Index("judge_calls_by_day", "day"),
    Index("judge_calls_by_expiry", "expires_at"),
)

PARTITIONED: tuple[Table, ...] = (unit_days,)
"""Tables partitioned by day on PostgreSQL."""
