"""What processes share beside the store's database. Without SQLAlchemy: who reads a config imports this.

`plan_file`        the states for a machine's workers
`plan_channel`     the same through Redis
`stream`           records for the leader, through Redis
`segment_folder`   where segments of outcomes lie: a folder, an object store
`whole_file`       small files that are replaced as a whole
"""
