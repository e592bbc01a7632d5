"""Access control of the admin listener: checks Host and Origin, then who asks, and what that role may do.

| who | pages | `/api` | `/metrics`, health |
|---|---|---|---|
| nobody | log-in only | 401 | if no metrics token is set |
| viewer | GET, but no captured texts (403) | the same | yes |
| operator | all | all | yes |

A session opens the pages. The API only accepts a token, which a browser never adds to a request by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from console.access.openid_settings import OidcSettings
from console.access.session import Ground, LinkEnd, Person, Sessions, same

COOKIE = "canary_session"
LOGIN, LOGOUT = "/login", "/logout"
OIDC_LOGIN, OIDC_CALLBACK = "/oidc/login", "/oidc/callback"
STATIC = "/static/"

TEXTS = frozenset(
    {
        "/canaries/{name}/pairs",
        "/canaries/{name}/label",
        "/datasets/{name}/label",
        "/issues/new",
        "/issues/wrong",
    }
)
"""The routes that show captured texts. Whoever adds a route decides here and in the tests' table."""

_PERSON = "canary.person"
_OPEN = frozenset({LOGIN, OIDC_LOGIN, OIDC_CALLBACK})
_MEASURED = frozenset({"/healthz", "/readyz", "/metrics"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_BEARER_WANTED = "send `Authorization: Bearer …` with the admin token (DATA/admin.token)"
_OF_APPS = ("/v1/", "/v1beta/", "/canary/")
_WRONG_LISTENER = (
    "this is canary's admin listener: send LLM requests and feedback to the traffic listener, "
    "http://127.0.0.1:8080 unless `traffic` in the config or --traffic says otherwise"
)
_READ_ONLY = "A viewer may only read. This needs the operator's token, or a sign-in as operator."
_NO_TEXTS = "A viewer may not read captured texts. They need the operator's token, or a sign-in as operator."

Challenge = Callable[[HTTPConnection], Response]
"""Makes the response to a request without a session."""
Forbidding = Callable[[HTTPConnection, str], Response]
"""Makes the response to a request that the person may not make; the text says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The current tokens and the sign-in of the config. If `loopback`, the listener is only on this machine,
    and the Host header must be a loopback name, which stops DNS rebinding by a web page."""

    admin_token: Callable[[], str | None]
    metrics_token: Callable[[], str | None]
    loopback: bool
    viewer_token: Callable[[], str | None] = lambda: None
    oidc: Callable[[], OidcSettings | None] = lambda: None
    redeems: Callable[[str], LinkEnd | None] = lambda token: "unknown"
    """None for the token of a one-time link, which is used up by this; else why it is none."""

    def admits(self, given: str | None) -> Ground | None:
        """What this token is: the admin token or the viewer token; None if neither."""
        if same(given, self.admin_token()):
            return "admin"
        return "viewer" if same(given, self.viewer_token()) else None

    def admits_to_metrics(self, given: str | None) -> bool:
        """True if this is the metrics token or opens more than metrics, or if metrics need no token."""
        wanted = self.metrics_token()
        return wanted is None or same(given, wanted) or self.admits(given) is not None

    def ground(self, ground: Ground) -> str | None:
        """The secret on which sessions of this ground rest."""
        if ground == "oidc":
            settings = self.oidc()
            return settings.digest if settings is not None else None
        return self.admin_token() if ground == "admin" else self.viewer_token()


def holder(ground: Ground | None) -> Person | None:
    """Who has the token of this ground; None for no token."""
    if ground is None:
        return None
    return Person(role="operator" if ground == "admin" else "viewer")


def person_of(request: HTTPConnection) -> Person:
    """Who asks. Only for requests that the guard let in by a token or session."""
    person: Person = request.scope[_PERSON]
    return person


class Guard:
    """ASGI middleware around the whole admin app."""

    def __init__(
        self, app: ASGIApp, access: Access, sessions: Sessions, challenge: Challenge, forbid: Forbidding
    ) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions
        self._challenge = challenge
        self._forbid = forbid

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
        if path.startswith(_OF_APPS):
            return _refuse(404, {"message": _WRONG_LISTENER, "type": "canary_admin"})
        given = _bearer(headers)
        if path in _MEASURED:
            measured = self._access.admits_to_metrics(given)
            return None if measured else _refuse(401, "the metrics token is missing")
        if path in _OPEN or path.startswith(STATIC):
            return None
        return self._refusal_of(request, holder(self._access.admits(given)))

    def _refusal_of(self, request: HTTPConnection, person: Person | None) -> Response | None:
        """The refusal of a request for more than the open routes, from this token's holder."""
        if request.scope["path"].startswith("/api/"):
            if person is None:
                return _refuse(401, _BEARER_WANTED)
        else:
            person = person or self._sessions.person(request.cookies.get(COOKIE))
            if person is None:
                return self._challenge(request)
        request.scope[_PERSON] = person
        wrong = _forbidden(request.scope) if person.role == "viewer" else None
        return self._forbid(request, wrong) if wrong is not None else None


def _forbidden(scope: Scope) -> str | None:
    """Why a viewer may not ask this, and what would be right; None if a viewer may."""
    if scope["method"] not in ("GET", "HEAD") and scope["path"] != LOGOUT:
        return _READ_ONLY
    found = (each for each in scope["app"].routes if each.matches(scope)[0] is Match.FULL)
    route = next(found, None)
    return _NO_TEXTS if isinstance(route, Route) and route.path in TEXTS else None


def bearer_challenge(request: HTTPConnection) -> Response:
    """The challenge of an app without pages."""
    return _refuse(401, _BEARER_WANTED)


def plainly_forbidden(request: HTTPConnection, message: str) -> Response:
    """The refusal as JSON: of the API, and of an app without pages."""
    return _refuse(403, message)


def is_loopback(host: str) -> bool:
    """True if the Host header is a loopback name."""
    return (host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host) in _LOOPBACK


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def _refuse(status: int, message: str | Mapping[str, str]) -> Response:
    return JSONResponse({"error": message}, status_code=status)
