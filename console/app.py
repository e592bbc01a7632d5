"""The admin listener's app: metrics, health, the JSON API and the operator's page."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console.access.guard import Access, Guard, bearer_challenge, plainly_forbidden
from console.access.login import Login, OidcPages
from console.access.session import Sessions
from console.api import Api, broken, is_api, order_refused, refused
from console.captures import CapturePages
from console.datasets import DatasetPages
from console.history import HistoryPages
from console.issues import IssuePages
from console.orders import OrderForms
from console.page import ReadOnlyPages
from console.rendering import Templates, reports
from control.operator.operator import Operator
from control.operator.orders import BadOrder

Degraded = Callable[[], Sequence[str]]

_ERRORS = {HTTPException: refused, Exception: broken}


def admin_app(
    operator: Operator,
    registry: CollectorRegistry,
    access: Access,
    *,
    closing: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The whole admin app. Every route except the open ones needs a token in `access`, or a session that
    began with one or by a sign-in. `closing` is True once the process is shutting down."""
    sessions, templates = Sessions(access.ground, time.time), Templates()
    login, made = Login(access, sessions, templates), reports(operator, time.monotonic)
    routes = [
        *_open_routes(lambda: operator.degraded(), registry),
        *Api(operator).routes(),
        *login.routes(),
        *OidcPages(access.oidc, sessions, login, templates).routes(),
        *ReadOnlyPages(operator, login, templates, made, closing).routes(),
        *HistoryPages(operator, login).routes(),
        *CapturePages(operator, login, made.outdate).routes(),
        *DatasetPages(operator, login).routes(),
        *IssuePages(operator, login).routes(),
        *OrderForms(operator, login).routes(),
    ]
    guard = Middleware(
        Guard, access=access, sessions=sessions, challenge=login.challenge, forbid=login.forbid
    )

    async def cannot(request: Request, problem: BadOrder) -> Response:
        return order_refused(problem) if is_api(request) else login.refused(request, problem)

    errors: dict[Any, Any] = {**_ERRORS, BadOrder: cannot}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=errors)


def health_app(degraded: Degraded, registry: CollectorRegistry, access: Access) -> Starlette:
    """The app of a process that takes no orders: metrics and health. `degraded` lists what does not work."""
    sessions = Sessions(access.ground, time.time)
    guard = Middleware(
        Guard, access=access, sessions=sessions, challenge=bearer_challenge, forbid=plainly_forbidden
    )
    return Starlette(routes=_open_routes(degraded, registry), middleware=[guard], exception_handlers=_ERRORS)


def _open_routes(degraded: Degraded, registry: CollectorRegistry) -> list[Route]:
    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        problems = degraded()
        return PlainTextResponse("degraded: " + "; ".join(problems) + "\n" if problems else "ready\n")

    return [Route("/healthz", health), Route("/readyz", ready), Route("/metrics", metrics)]
