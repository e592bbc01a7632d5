"""The traffic listener: our own HTTP/1.1 server protocol, which passes each request to one handler.

`caller_connection`  one caller's connection: the order of its requests, and their deadlines
`caller_request`     one request and the response to it, as the handler sees them
`request_head`       why a request's head is refused: unlawful, or too large
`tls`                TLS between a socket and a connection that does not know of it
`listeners`          the listening sockets, and who holds a port
`endpoints`          canary's own endpoints, and ASGI apps on this server
"""
