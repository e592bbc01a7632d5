"""The sockets, and the processes beside a worker.

`server/`           callers' connections: HTTP/1.1, TLS, the listeners
`upstream/`         providers' connections: a pool, tunnels, a candidate's breaker
`websocket`         WebSocket frames and messages
`ticker`            one clock for all deadlines
`file_descriptors`  the last file descriptors, kept free
`child_process`     a process beside a worker, which gets messages
`pipe`              messages between a worker and such a process
"""
