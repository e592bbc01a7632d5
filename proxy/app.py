"""The traffic listener's ASGI app: our own few paths by Starlette, everything else is an exchange."""

from proxy.call import Receive, Scope, Send
from proxy.endpoints import Endpoints
from proxy.exchange import Exchanges

_OWN = ("/canary/", "/healthz", "/readyz")


class TrafficApp:
    """Chooses between the two by the path alone."""

    def __init__(self, exchanges: Exchanges, endpoints: Endpoints) -> None:
        self._exchanges = exchanges
        self._own = endpoints.app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(_OWN):
            await self._own(scope, receive, send)
        else:
            await self._exchanges(scope, receive, send)
