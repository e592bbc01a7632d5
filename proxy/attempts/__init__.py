"""Asks an arm, and records what came of it.

`attempt`           one upstream attempt, from its head to its end
`dispatch`          the request that an arm gets, how it is sent, and the wait for a candidate
`realtime_session`  one realtime session
`response_turn`     one response on a WebSocket
`background`        exchanges whose answer is fetched later
`foreign_state`     refusals for state that only the other arm can read
`mirror`            copies of requests, whose answers nobody gets
`record`            one exchange's facts, closed with one Outcome
`examination`       what an answer holds, against what its request lets it hold
`checker`           has schemas checked by a process beside the worker (`checker_process`)
`capture`           which exchanges' texts go to the capture process
"""
