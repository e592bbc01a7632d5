"""Serves a request with an ASGI app. Only canary's own endpoints, which use Starlette, need it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from proxy.server.head import sendable
from proxy.server.incoming import Incoming

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


async def serve_asgi(app: App, incoming: Incoming) -> None:
    """Run the app for this request. The app is cancelled when the caller leaves."""
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if incoming.old else "1.1",
        "server": None,
        "client": incoming.client,
        "scheme": "http",
        "method": incoming.method,
        "root_path": "",
        "path": unquote(incoming.path),
        "raw_path": incoming.path.encode("ascii"),
        "query_string": incoming.query,
        "headers": incoming.headers,
    }
    told_end = False

    async def receive() -> Message:
        nonlocal told_end
        if told_end:  # a further receive() waits until the caller leaves
            await asyncio.get_running_loop().create_future()
        body = await incoming.read()
        told_end = not incoming.more
        return {"type": "http.request", "body": body, "more_body": incoming.more}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not sendable(headers):
                raise RuntimeError("the app sent a response header that HTTP does not allow")
            length = dict(headers).get(b"content-length")
            headers = [field for field in headers if field[0] != b"content-length"]
            incoming.start(message["status"], headers, length=None if length is None else int(length))
        elif message.get("more_body", False):
            await incoming.drain()
            incoming.write(message.get("body", b""))
        else:
            incoming.end(message.get("body", b""))

    await app(scope, receive, send)
