"""The spool: append-only files, the only thing that a worker writes.

`frame`    the files' format
`writer`   a worker's side
`disk`     syncs, and what is held while the disk hangs
`reader`   the readers' side, with the quarantine
"""
