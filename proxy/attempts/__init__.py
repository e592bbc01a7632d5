"""Asks an arm, and records what came of it.

`attempt`         one upstream attempt, from its head to its end
`request`         the request that an arm gets
`dispatch`        when to ask for a stream's usage, and when to stop waiting for a candidate
`session`         one realtime session
`response_turn`   one response on a WebSocket
`foreign_state`   refusals for state that only the other arm can read
`mirror`          copies of requests, whose answers nobody gets
`record`          one exchange's facts, closed with one Outcome
`examination`     what an answer holds, against what its request lets it hold
`checker`         the process beside a worker that checks schemas (`checker_process`)
`capture`         which exchanges' texts go to the capture process
"""
