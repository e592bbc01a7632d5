"""The store's schema, step by step: one file of `versions/` a step, run by Alembic, forwards only.

A step never imports `records.tables`, which tells of today. Add one as `NNNN_what_it_does.py`, raise HEAD,
and change `records/tables.py` alike; tests hold the two against each other on both databases.
"""

HEAD = "0008"
"""The newest step that this program knows. Steps are numbered, so that a newer database can be told."""
