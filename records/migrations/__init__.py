"""Migrations of the store's schema: one step per file in `versions/`, run by Alembic, forwards only.

A step never imports `records.tables`, which has the current schema. To add a step, write
`NNNN_what_it_does.py`, raise HEAD and change `records/tables.py`; tests compare the two on both databases.
"""

HEAD = "0021"
"""The newest step of this version. Steps are numbered, so that a newer database can be recognised."""
