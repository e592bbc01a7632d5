"""What processes share beside the store.

`states_file`      the states for a machine's workers
`states_channel`   the same through Redis
`stream`         records for the leader, through Redis
`whole_file`     small files that are replaced as a whole
"""
