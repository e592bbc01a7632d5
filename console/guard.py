"""Who may reach the admin listener: Host and Origin are checked, then the token of the matched path."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "canary_session"
_OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
_LOGIN = "/login"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The tokens in force. `loopback` is True when the listener is on this machine only: then the Host header
    must name it too, which keeps a web page from reaching it through a name of its own (DNS rebinding)."""

    admin_token: Callable[[], str | None]
    metrics_token: Callable[[], str | None]
    loopback: bool

    def admits(self, given: str | None) -> bool:
        """True for the admin token."""
        return _same(given, self.admin_token())

    def admits_to_metrics(self, given: str | None) -> bool:
        """True when metrics are open, and for either token."""
        wanted = self.metrics_token()
        return wanted is None or _same(given, wanted) or self.admits(given)

    def session(self) -> str:
        """The cookie's value: proves that the token was known, and is not the token."""
        return sha256(b"canary session " + (self.admin_token() or "").encode()).hexdigest()

    def admits_session(self, cookie: str | None) -> bool:
        """True for the cookie that `session` gave."""
        return self.admin_token() is not None and _same(cookie, self.session())


class Guard:
    """ASGI middleware around the whole admin app."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(HTTPConnection(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        headers, path = request.headers, request.scope["path"]
        host = headers.get("host", "")
        if self._access.loopback and _name(host) not in _LOOPBACK:
            return _refuse(400, "this listener is on loopback: the Host header must say so")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _refuse(403, "requests from other origins are refused")
        given = _bearer(headers)
        if path in _OPEN:
            return (
                None
                if self._access.admits_to_metrics(given)
                else _refuse(401, "the metrics token is missing")
            )
        if path == _LOGIN or self._access.admits(given):
            return None
        if self._access.admits_session(request.cookies.get(COOKIE)):
            return None
        if path.startswith("/api/"):
            return _refuse(401, "send `Authorization: Bearer …` with the admin token (DATA/admin.token)")
        return RedirectResponse(_LOGIN, status_code=303)


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def _same(given: str | None, wanted: str | None) -> bool:
    return wanted is not None and given is not None and hmac.compare_digest(given.encode(), wanted.encode())


def _name(host: str) -> str:
    return host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
