"""The request path: read, assign, send, relay, record. Start at `exchange.py`, and read it top to bottom.

`exchange.py`           one request, from its first byte to its outcome
`responses_socket.py`   OpenAI's responses over one WebSocket, each of them an exchange
`calls/`                reads a request: its route, its caller, its facts, the canary that takes it
`attempts/`             asks an arm, waits for it, checks the answer, and records what came of it
`answers/`              follows a copy of an answer while it is relayed
`dialects/`             the providers' wire APIs, a file each
`providers/`            the provider entries: their URLs, headers, bodies and credentials
`network/`              the sockets: callers' connections, providers' connections, WebSocket frames
"""
