"""The store: outcomes, unit totals, feedback, states and audit log in one database, SQLite or PostgreSQL.

Other rooms use `Store` (store.py). The schema is in `records/tables.py`, its migrations in
`records/migrations/`.
"""

from records.store.database import Patience
from records.store.facts import Act, Audited, FixedRubric, RecordTotals, Shipped, Versioned
from records.store.store import Store

__all__ = ["Act", "Audited", "FixedRubric", "Patience", "RecordTotals", "Shipped", "Store", "Versioned"]
