"""A look at the canaries' states that creates and upgrades nothing, for commands that need no store."""

import os
from pathlib import Path

from records import migrations
from records.store.database import PATIENCE, engine_of, transaction
from records.store.facts import Versioned
from records.store.migrate import version_of
from records.store.store import states_in


def states_at(url: str, data: Path) -> dict[str, Versioned] | None:
    """The state of every canary in the database of this URL; None where there is no database of this schema.

    A relative SQLite path is relative to `data`. Raises StoreDown when the database does not answer.
    """
    engine = engine_of(url, data)
    try:
        if engine.dialect.name == "sqlite" and not os.access(engine.url.database or "", os.R_OK | os.W_OK):
            return None  # connecting would create it, or wait for a right to write it
        with transaction(engine, within_s=PATIENCE.answer_s) as connection:
            return states_in(connection) if version_of(connection) == migrations.HEAD else None
    finally:
        engine.dispose()
