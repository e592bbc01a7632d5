"""The traffic listener: an HTTP/1.1 server protocol of our own that hands each request to one handler."""

from proxy.server.asgi import serve_asgi
from proxy.server.head import sendable
from proxy.server.incoming import Handler, Incoming
from proxy.server.protocol import TrafficProtocol

__all__ = ["Handler", "Incoming", "TrafficProtocol", "sendable", "serve_asgi"]
