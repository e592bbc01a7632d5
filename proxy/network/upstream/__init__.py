"""Providers' connections: an HTTP/1.1 pool over llhttp.

`pool`         assigns connections to exchanges, and limits those of each arm
`connection`   one connection: socket and deadlines, one exchange at a time
`response`     a provider's response: its parser, and how it is read
`tunnel`       a connection that another protocol has taken over
`breaker`      the circuit breaker of one candidate
"""
