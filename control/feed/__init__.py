"""What happened, on its way to the controller.

`events`   what the workers did, and the listeners that count it and send it on
`spool`    a source: one machine's files
`stream`   a source: every replica's records, by Redis and from the store
`sessions` a listener: which arm each session has, for workers and other replicas
"""
