"""The traffic listener: our own HTTP/1.1 server protocol, which passes each request to one handler."""

import asyncio
from typing import cast

from proxy.network.server import protocol
from proxy.network.server.asgi import AsgiHandler, serve_asgi
from proxy.network.server.caller_request import CallerRequest, Handler
from proxy.network.server.head import sendable

TrafficProtocol = cast(type[asyncio.Protocol], protocol.TrafficProtocol)
"""An asyncio.Protocol by its methods: a class compiled by mypyc cannot inherit from an uncompiled one."""

__all__ = ["AsgiHandler", "CallerRequest", "Handler", "TrafficProtocol", "sendable", "serve_asgi"]
