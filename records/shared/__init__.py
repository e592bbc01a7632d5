"""What processes share beside the store.

`plan_file`      the states for a machine's workers
`plan_channel`   the same through Redis
`stream`         records for the leader, through Redis
`whole_file`     small files that are replaced as a whole
"""
