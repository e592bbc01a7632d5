"""Serves a request with an ASGI app: canary's own endpoints and the admin listener use Starlette."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from proxy.network.server.caller_request import CallerRequest
from proxy.network.server.head import sendable

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiHandler:
    """The handler of a listener whose app finishes what it has begun: an order is carried out although its
    caller leaves. The app is told that the caller has left, as by any ASGI server."""

    def __init__(self, app: App, scheme: Callable[[], str]) -> None:
        self._app = app
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, incoming: CallerRequest) -> None:
        left = asyncio.Event()
        task = asyncio.create_task(serve_asgi(self._app, incoming, scheme=self._scheme(), left=left))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(task)
        finally:
            left.set()

    async def finish(self, within_s: float) -> None:
        """Wait for what callers have left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)


async def serve_asgi(
    app: App, incoming: CallerRequest, *, scheme: str = "http", left: asyncio.Event | None = None
) -> None:
    """Run the app for this request. The app is told by `left` when the caller leaves, or else cancelled."""
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if incoming.old else "1.1",
        "server": None,
        "client": incoming.client,
        "scheme": scheme,
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
            await (left.wait() if left is not None else asyncio.get_running_loop().create_future())
            return {"type": "http.disconnect"}
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
