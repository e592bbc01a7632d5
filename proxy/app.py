"""What the traffic listener serves: our own few paths by Starlette, everything else is an exchange."""

from collections.abc import Awaitable

from proxy.endpoints import Endpoints
from proxy.exchange import Exchanges
from proxy.server import Incoming, serve_asgi

_OWN = ("/canary/", "/healthz", "/readyz")


class TrafficApp:
    """The listener's handler: chooses between the two by the path alone."""

    def __init__(self, exchanges: Exchanges, endpoints: Endpoints) -> None:
        self._exchanges = exchanges
        self._own = endpoints.app()

    def __call__(self, incoming: Incoming) -> Awaitable[None]:
        if incoming.path.startswith(_OWN):
            return serve_asgi(self._own, incoming)
        return self._exchanges(incoming)
