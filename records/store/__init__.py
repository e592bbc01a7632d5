"""The store: outcomes, unit totals, feedback, states and audit log in one database, SQLite or PostgreSQL, and
outcomes in files. Other rooms use `Store`.

`store`, `database`, `tables`, `migrate`       the database and its schema
`shipper`, `ingest`, `sums`, `retention`       from the spool into the tables, until they expire
`segments`, `segment_writer`                   outcomes as Parquet files
`session_exchanges`, `last_exchanges`          what is stored of one session or user
`captures`, `benchmarks`, `releases`, `decisions`, `reports`, `standing`, `drift`, `leader`    the rest
"""

from records.store.database import StoreTimeouts
from records.store.store import (
    Act,
    AuditEntry,
    FixedRubric,
    SpoolCounts,
    Store,
    VersionedState,
)

__all__ = [
    "Act",
    "AuditEntry",
    "FixedRubric",
    "SpoolCounts",
    "Store",
    "StoreTimeouts",
    "VersionedState",
]
