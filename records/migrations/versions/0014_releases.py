"""Releases, and what hangs on them; the minutes that people spent."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0014"
down_revision: str | None = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Number = sa.Float().with_variant(DOUBLE_PRECISION(), "postgresql")

_GROWING = ("runs", "release_notes")

# The function for tables that only grow is that of decisions and evaluations (0005).
_POSTGRESQL = [
    *(
        f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()"
        for table in _GROWING
    ),
    "CREATE TRIGGER releases_only_grows BEFORE DELETE OR TRUNCATE ON releases "
    "FOR EACH STATEMENT EXECUTE FUNCTION canary_only_grows()",
    "CREATE TRIGGER releases_keep BEFORE UPDATE ON releases FOR EACH ROW WHEN (OLD.baseline <> '') "
    "EXECUTE FUNCTION canary_only_grows()",
]
_SQLITE = [
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


def upgrade() -> None:
    """Create the tables, and enter the benchmarks and runs that are there.

    A release changes once: when its baseline becomes known.
    """
    op.create_table(
        "releases",
        sa.Column("id", Key, primary_key=True),
        sa.Column("candidate", Key, nullable=False),
        sa.Column("baseline", Key, nullable=False),
        sa.Column("made_at", Number, nullable=False),
        sa.Column("noticed_at", Number),
    )
    op.create_index("releases_by_models", "releases", ["candidate", "baseline"], unique=True)
    op.create_table(
        "runs",
        sa.Column("canary", Key, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("release", Key, nullable=False),
        sa.Column("at", Number, nullable=False),
        sa.PrimaryKeyConstraint("canary", "run"),
    )
    op.create_index("runs_by_release", "runs", ["release"])
    op.create_table(
        "release_notes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", Number, nullable=False),
        sa.Column("release", Key, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("minutes", Number),
    )
    op.create_index("release_notes_by_release", "release_notes", ["release"])
    op.add_column("audit", sa.Column("minutes", Number))
    _enter(op.get_bind())
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


class _Entry(NamedTuple):
    """A benchmark (`canary` "") or a run, with its models as `provider/model`."""

    at: float
    candidate: str
    baseline: str
    canary: str = ""
    run: int = 0


def _enter(connection: sa.Connection) -> None:
    ids: dict[tuple[str, str], str] = {}
    entered: set[tuple[str, int]] = set()
    for entry in sorted([*_benchmarks(connection), *_runs(connection)]):
        models = (entry.candidate, entry.baseline)
        if models not in ids:
            ids[models] = secrets.token_hex(6)
            values = {"id": ids[models], "candidate": models[0], "baseline": models[1], "made_at": entry.at}
            connection.execute(_RELEASES.insert().values(**values))
        if entry.canary and (entry.canary, entry.run) not in entered:
            entered.add((entry.canary, entry.run))
            row = {"canary": entry.canary, "run": entry.run, "release": ids[models], "at": entry.at}
            connection.execute(_RUNS.insert().values(**row))


def _benchmarks(connection: sa.Connection) -> Iterator[_Entry]:
    found = connection.execute(sa.text("SELECT at, candidate, baseline FROM benchmarks"))
    return (_Entry(row.at, row.candidate, row.baseline) for row in found if row.candidate)


def _runs(connection: sa.Connection) -> Iterator[_Entry]:
    """The runs that the audit log knows, of canaries whose arms are stored with their terms."""
    terms = {row.canary: row.document for row in connection.execute(_RUBRICS.select())}
    for row in connection.execute(sa.select(_AUDIT).order_by(_AUDIT.c.id)):
        arms = terms.get(row.canary, {})
        if row.after.get("started_at") is None or not arms.get("candidate") or not arms.get("baseline"):
            continue
        models = _name(arms["candidate"]), _name(arms["baseline"])
        yield _Entry(row.after["started_at"], *models, canary=row.canary, run=row.after["run"])


def _name(arm: Mapping[str, Any]) -> str:
    return f"{arm['provider']}/{arm['model']}"


_RUBRICS = sa.table("rubrics", sa.column("canary"), sa.column("document", sa.JSON))
_AUDIT = sa.table("audit", sa.column("id"), sa.column("canary"), sa.column("after", sa.JSON))
_RELEASES = sa.table(
    "releases", sa.column("id"), sa.column("candidate"), sa.column("baseline"), sa.column("made_at")
)
_RUNS = sa.table("runs", sa.column("canary"), sa.column("run"), sa.column("release"), sa.column("at"))
