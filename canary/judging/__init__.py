"""Brings records, rubric and the report room together: reports, re-scoring, the archive."""
