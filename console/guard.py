"""Access control of the admin listener: checks Host, Origin, and the token or session."""

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

Challenge = Callable[[HTTPConnection], Response]
"""Makes the response to a request without a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The current tokens. If `loopback`, the listener is only on this machine, and the Host header must be a
    loopback name, which stops DNS rebinding by a web page."""

    admin_token: Callable[[], str | None]
    metrics_token: Callable[[], str | None]
    loopback: bool

    def admits(self, given: str | None) -> bool:
        """True if this is the admin token."""
        return same(given, self.admin_token())

    def admits_to_metrics(self, given: str | None) -> bool:
        """True if this is the metrics token or the admin token, or if metrics need no token."""
        wanted = self.metrics_token()
        return wanted is None or same(given, wanted) or self.admits(given)


class Guard:
    """ASGI middleware around the whole admin app. Pages accept a session. The API only accepts the token,
    which a browser never adds to a request by itself."""

    def __init__(self, app: ASGIApp, access: Access, sessions: Sessions, challenge: Challenge) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions
        self._challenge = challenge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(HTTPConnection(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        headers, path = request.headers, request.scope["path"]
        host = headers.get("host", "")
        if self._access.loopback and not is_loopback(host):
            return _refuse(400, "this listener is on loopback; the Host header must be a loopback name")
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
        return None if self._sessions.admits(request.cookies.get(COOKIE)) else self._challenge(request)


def bearer_challenge(request: HTTPConnection) -> Response:
    """The challenge of an app without pages."""
    return _refuse(401, _BEARER_WANTED)


def is_loopback(host: str) -> bool:
    """True if the Host header is a loopback name."""
    return (host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host) in _LOOPBACK


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
