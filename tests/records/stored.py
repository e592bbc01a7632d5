"""What a store has of outcomes, wherever they lie."""

from contextlib import closing
from pathlib import Path
from typing import Any

from records.store import Store
from records.store.segments.columns import COLUMNS
from records.store.segments.sources import sources


def stored(store: Store) -> list[dict[str, Any]]:
    """All outcomes as rows of the columns that docs/records.md describes, oldest first."""
    with store.reading() as connection:
        found = [outcome for source in sources(connection) for outcome in source.outcomes()]
    rows = [{name: column.of(outcome) for name, column in COLUMNS.items()} for outcome in found]
    return sorted(rows, key=lambda row: row["at"])


def stored_in(data: Path) -> list[dict[str, Any]]:
    """The outcomes of a data folder with SQLite; none before the server has made the database."""
    if not (data / "canary.db").exists():
        return []
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        return stored(store)
