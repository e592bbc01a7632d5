"""Migrations of the store's schema: one step per file in `versions/`, run by Alembic, forwards only.

The baseline is the schema of the first release. Each later change is a step, `NNNN_what_it_does.py`: write
it, raise HEAD and change `records/store/tables.py`; tests compare the two on both databases. A step never
imports `records.store.tables`, which has the current schema, and never changes once it is released.
"""

BASELINE = "v0001"
"""The first step. What was made before the first release has a number without a letter, or none."""

HEAD = "v0001"
"""The newest step of this version. Steps are numbered, so that a newer database can be recognised."""
