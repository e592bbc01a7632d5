"""The spool: append-only files, the only thing that a worker writes.

`frame`    the files' format
`writer`   a worker's side: it appends, syncs, and holds records while the disk hangs
`reader`   the readers' side, with the quarantine
"""
