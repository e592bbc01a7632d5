"""The sockets.

`server/`      callers' connections: HTTP/1.1, TLS, the listeners
`upstream/`    providers' connections: a pool, tunnels, a candidate's breaker
`websocket`    WebSocket frames and messages
`ticker`       one clock for all deadlines
`descriptors`  the last file descriptors, kept free
"""
