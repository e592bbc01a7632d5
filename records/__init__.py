"""What happened: the record of each exchange, and where records are kept.

`outcome`     the records that a worker writes: outcomes, feedback, heartbeats
`errors`      the errors of this room
`facts`       what a record holds: ids, prices, metrics and feedback, counts, foreign text
`captures`    texts of exchanges for datasets: their form, their redaction
`spool`       the files that a worker writes and the admin process reads
`store`       the database, and the segments of outcomes in files
`shared`      what processes share beside the store: the plan file, Redis
`exports`     records for others: files, Prometheus, OpenTelemetry
"""
