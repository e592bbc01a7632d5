"""The admin listener's app: metrics, health, the JSON API and the operator's page. Decides nothing itself."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console.api import Api
from console.control import Control
from console.guard import Access, Guard
from console.page import Page

Degraded = Callable[[], Sequence[str]]


def admin_app(control: Control, registry: CollectorRegistry, access: Access) -> Starlette:
    """The whole admin app; every route but the open ones needs the admin token that `access` knows."""
    routes = [
        *_open_routes(lambda: control.degraded(), registry),
        *Api(control).routes(),
        *Page(control, access).routes(),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, access=access)])


def health_app(degraded: Degraded, registry: CollectorRegistry, access: Access) -> Starlette:
    """What a process shows that takes no orders: metrics and health. `degraded` says what does not work."""
    return Starlette(routes=_open_routes(degraded, registry), middleware=[Middleware(Guard, access=access)])


def _open_routes(degraded: Degraded, registry: CollectorRegistry) -> list[Route]:
    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        problems = degraded()
        return PlainTextResponse("degraded: " + "; ".join(problems) + "\n" if problems else "ready\n")

    return [Route("/healthz", health), Route("/readyz", ready), Route("/metrics", metrics)]
