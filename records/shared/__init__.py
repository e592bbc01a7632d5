"""What processes share beside the store's database. Without SQLAlchemy: who reads a config imports this.

`states_file`      the states for a machine's workers
`states_channel`   the same through Redis
`stream`           records for the leader, through Redis
`segment_folder`   where segments of outcomes lie: a folder, an object store
"""
