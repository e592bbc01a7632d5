"""Stored outcomes: fresh ones in the database, a compressed batch a row, then as columns in Parquet segments.

`Store.ship`            stores a batch as one fresh row, with its totals
records.rolling         writes the fresh rows of an hour, or the oldest 200,000, as segments
`reading`               reads both
"""

HOUR_S = 3600.0
"""Seconds of outcomes in a segment."""
