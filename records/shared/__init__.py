"""What processes share beside the store's database. Without SQLAlchemy: who reads a config imports this.

`states_file`      the states for a machine's workers
`states_channel`   the same through Redis
`stream`           records for the leader, and sessions for the other replicas, through Redis
`session_arms`     which arm each session has, for a machine's workers
`segment_folder`   where segments of outcomes lie: a folder, an object store
"""
