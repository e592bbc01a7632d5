"""Serves a request by an ASGI app: our own few endpoints are Starlette's. The exchanges need none of it."""

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
    """Run the app for this request. When the caller leaves, the app is cancelled."""
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
        if told_end:  # an app that asks on waits for the caller to leave
            await asyncio.get_running_loop().create_future()
        body = await incoming.read()
        told_end = not incoming.more
        return {"type": "http.request", "body": body, "more_body": incoming.more}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not sendable(headers):
                raise RuntimeError("a response header is none that HTTP allows")
            length = dict(headers).get(b"content-length")
            headers = [field for field in headers if field[0] != b"content-length"]
            incoming.start(message["status"], headers, length=None if length is None else int(length))
        elif message.get("more_body", False):
            await incoming.drain()
            incoming.write(message.get("body", b""))
        else:
            incoming.end(message.get("body", b""))

    await app(scope, receive, send)
