"""The traffic listener's app: canary's own paths are served by Starlette, all others are exchanges."""

from collections.abc import Awaitable

from proxy.endpoints import Endpoints
from proxy.exchange import Exchanges
from proxy.server import Incoming, serve_asgi

_OWN = ("/canary/", "/healthz", "/readyz")


class TrafficApp:
    """The listener's handler, which dispatches by path."""

    def __init__(self, exchanges: Exchanges, endpoints: Endpoints) -> None:
        self._exchanges = exchanges
        self._own = endpoints.app()

    def __call__(self, incoming: Incoming) -> Awaitable[None]:
        if incoming.path.startswith(_OWN):
            return serve_asgi(self._own, incoming)
        return self._exchanges(incoming)
