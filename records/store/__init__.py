"""The store: outcomes, unit totals, feedback, states and audit log in one database, SQLite or PostgreSQL, and
outcomes in files. Other rooms use `Store`.

`store`, `database`, `tables`, `migrate`, `migrations`    the database and its schema
`shipper`, `ingest`, `sums`, `retention`                  from the spool into the tables, until they expire
`segments`, `due`, `segment_writer`                       outcomes as Parquet files
`captures`, `benchmarks`, `releases`, `decisions`, `reports`, `leader`    what else is kept, by its user
"""

from records.store.database import Patience
from records.store.store import Store
from records.store.values import Act, Audited, FixedRubric, Shipped, SpoolCounts, Versioned

__all__ = ["Act", "Audited", "FixedRubric", "Patience", "Shipped", "SpoolCounts", "Store", "Versioned"]
