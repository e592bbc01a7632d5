"""The traffic listener's protocol: uvicorn's, with the gaps closed that a public listener must not have."""

from proxy.server.head import sendable
from proxy.server.protocol import TrafficProtocol

__all__ = ["TrafficProtocol", "sendable"]
