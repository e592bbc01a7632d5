"""The store: outcomes, unit totals, feedback, states and audit in one database, SQLite or PostgreSQL.

`Store` (store.py) is what others use. Schema: `records/tables.py`, steps to it: `records/migrations/`.
"""

from records.store.database import Patience
from records.store.facts import Act, Audited, FixedRubric, RecordTotals, Shipped, Versioned
from records.store.store import Store

__all__ = ["Act", "Audited", "FixedRubric", "Patience", "RecordTotals", "Shipped", "Store", "Versioned"]
