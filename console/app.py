"""The admin listener's app: metrics, health, the JSON API and the operator's page. Decides nothing itself."""

from collections.abc import Sequence

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


def admin_app(control: Control, registry: CollectorRegistry, access: Access) -> Starlette:
    """The whole admin app; every route but the open ones needs the admin token that `access` knows."""

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        problems: Sequence[str] = control.degraded()
        return PlainTextResponse("degraded: " + "; ".join(problems) + "\n" if problems else "ready\n")

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/readyz", ready),
            Route("/metrics", metrics),
            *Api(control).routes(),
            *Page(control, access).routes(),
        ],
        middleware=[Middleware(Guard, access=access)],
    )
