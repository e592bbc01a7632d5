"""Stored outcomes: fresh ones in the database, a compressed batch a row, then as columns in Parquet segments.

`columns`   an outcome as values, and a batch as one packed value
`arrow`     tables, and the segments that are built of them
`folder`    where segments lie: a folder, an object store
`sources`   reads segments and fresh rows
"""
