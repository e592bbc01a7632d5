"""Who may reach the admin listener: Host and Origin are checked, then the token of the matched path."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from console.session import Sessions, same

COOKIE = "canary_session"
LOGIN = "/login"
STATIC = "/static/"
_MEASURED = frozenset({"/healthz", "/readyz", "/metrics"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_BEARER_WANTED = "send `Authorization: Bearer …` with the admin token (DATA/admin.token)"

Door = Callable[[HTTPConnection], Response]
"""What somebody without a session is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The tokens in force. `loopback` is True when the listener is on this machine only: then the Host header
    must name it too, which keeps a web page from reaching it through a name of its own (DNS rebinding)."""

    admin_token: Callable[[], str | None]
    metrics_token: Callable[[], str | None]
    loopback: bool

    def admits(self, given: str | None) -> bool:
        """True for the admin token."""
        return same(given, self.admin_token())

    def admits_to_metrics(self, given: str | None) -> bool:
        """True when metrics are open, and for either token."""
        wanted = self.metrics_token()
        return wanted is None or same(given, wanted) or self.admits(given)


class Guard:
    """ASGI middleware around the whole admin app. A session opens the pages; the API wants the token itself,
    which no browser adds to a request by itself."""

    def __init__(self, app: ASGIApp, access: Access, sessions: Sessions, door: Door) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(HTTPConnection(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        headers, path = request.headers, request.scope["path"]
        host = headers.get("host", "")
        if self._access.loopback and not is_loopback(host):
            return _refuse(400, "this listener is on loopback: the Host header must say so")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _refuse(403, "requests from other origins are refused")
        given = _bearer(headers)
        if path in _MEASURED:
            measured = self._access.admits_to_metrics(given)
            return None if measured else _refuse(401, "the metrics token is missing")
        if path == LOGIN or path.startswith(STATIC) or self._access.admits(given):
            return None
        if path.startswith("/api/"):
            return _refuse(401, _BEARER_WANTED)
        return None if self._sessions.admits(request.cookies.get(COOKIE)) else self._door(request)


def closed(request: HTTPConnection) -> Response:
    """The door of an app without pages."""
    return _refuse(401, _BEARER_WANTED)


def is_loopback(host: str) -> bool:
    """True for a Host header that names this machine."""
    return (host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host) in _LOOPBACK


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
