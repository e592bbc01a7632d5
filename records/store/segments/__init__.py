"""Stored outcomes: fresh ones in the database, a compressed batch a row, then as columns in Parquet segments.

`columns`   an outcome as values, and a batch as one packed value
`arrow`     tables, and the segments that are built of them
`sources`   reads segments and fresh rows
"""
