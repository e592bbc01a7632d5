"""The traffic listener: an HTTP/1.1 server protocol of our own that hands each request to one handler."""

import asyncio
from typing import cast

from proxy.server import protocol
from proxy.server.asgi import serve_asgi
from proxy.server.head import sendable
from proxy.server.incoming import Handler, Incoming

TrafficProtocol = cast(type[asyncio.Protocol], protocol.TrafficProtocol)
"""It is one by its methods: what mypyc compiles has no base class that is not compiled."""

__all__ = ["Handler", "Incoming", "TrafficProtocol", "sendable", "serve_asgi"]
