"""The schema of the first release.

Until then its tables are those of `records.store.tables`. The first release writes them out here, for a step
never changes once it is released: a test fails from the first version in CHANGELOG.md on.
"""

from collections.abc import Sequence

from alembic import op

from records.store.tables import metadata

revision = "v0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

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
    """Create the tables, what keeps their rows from changing, the lease's row and those of checkpoints."""
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=False)
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
    op.execute("INSERT INTO leases (name, holder, term, refreshed_at) VALUES ('leader', '', 0, 0)")
    op.execute(
        "INSERT INTO checkpoints (name, term, saved_at, document) "
        "VALUES ('leader', 0, 0, ''), ('held', 0, 0, ''), ('courses', 0, 0, '')"
    )


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
