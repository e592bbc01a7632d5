"""What the traffic listener serves: our own few paths by Starlette, everything else is an exchange."""

from proxy.endpoints import Endpoints
from proxy.exchange import Exchanges
from proxy.server import Incoming, serve_asgi

_OWN = ("/canary/", "/healthz", "/readyz")


class TrafficApp:
    """The listener's handler: chooses between the two by the path alone."""

    def __init__(self, exchanges: Exchanges, endpoints: Endpoints) -> None:
        self._exchanges = exchanges
        self._own = endpoints.app()

    async def __call__(self, incoming: Incoming) -> None:
        if incoming.path.startswith(_OWN):
            await serve_asgi(self._own, incoming)
        else:
            await self._exchanges(incoming)
