"""Sign-in and logout: by a token in a form, or through an OpenID provider. A cookie carries the session."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from console.access.guard import (
    COOKIE,
    LOGIN,
    LOGOUT,
    OIDC_CALLBACK,
    OIDC_LOGIN,
    Access,
    holder,
    is_loopback,
    person_of,
    plainly_forbidden,
)
from console.access.openid_settings import OidcSettings, SignInFailed, admitted
from console.access.session import LASTS_S, Ground, LinkEnd, Person, Sessions, same
from console.rendering import Templates
from control.operator.orders import BadOrder

log = structlog.get_logger()

_CHECK = "canary_login"
_LINK_ENDS: Mapping[LinkEnd, str] = {
    "used": "The link was used already.",
    "old": "The link is over ten minutes old.",
    "unknown": "The link is not this server’s newest: another replica or an earlier start printed it.",
}
_LOGIN_BOUND, _FORM_BOUND = 8192, 24576
_ONWARDS_BOUND = 2400
"""Bytes of a path with its query. A link to an order has 200 characters of reason, at most 9 bytes each."""


class Login:
    """The login page, and the check that a form comes from a page of the session."""

    def __init__(self, access: Access, sessions: Sessions, templates: Templates) -> None:
        self._access = access
        self._sessions = sessions
        self._templates = templates

    def routes(self) -> list[Route]:
        """Login and logout."""
        return [
            Route(LOGIN, self.login, methods=["GET", "POST"]),
            Route(LOGOUT, self.logout, methods=["POST"]),
        ]

    def challenge(self, request: HTTPConnection) -> Response:
        """The login form, for a request without a session. Makes htmx reload the page."""
        if "hx-request" in request.headers:
            return PlainTextResponse("log in", 401, {"hx-refresh": "true"})
        url = request.url
        path = f"{url.path}?{url.query}" if url.query else url.path
        onwards = path if request.scope["method"] == "GET" and len(path) <= _ONWARDS_BOUND else "/"
        return self.page(request, onwards=onwards, status_code=401)

    def forbid(self, request: HTTPConnection, message: str) -> Response:
        """The response to what a viewer may not do."""
        if request.scope["path"].startswith("/api/"):
            return plainly_forbidden(request, message)
        return self.answer(request, "problem.html", status_code=403, message=message)

    def refused(self, request: Request, problem: BadOrder) -> Response:
        """The page that says why something cannot be done."""
        return self.answer(request, "problem.html", status_code=problem.status, message=problem.message)

    def answer(
        self, request: HTTPConnection, template: str, *, status_code: int = 200, **values: Any
    ) -> Response:
        """A page of this session, or a part of one: its form token and who asks go into the template."""
        shown = {"form_token": self.form_token(request), "person": person_of(request)}
        return self._templates.answer(template, status_code=status_code, **shown, **values)

    async def login(self, request: Request) -> Response:
        """Show the login form, or check the token and begin a session. A cookie with the same value as the
        form's `check` field proves that the form is ours. `?once=` is the token of a one-time link."""
        if request.method == "GET" and "once" in request.query_params:
            return await self._once(request, request.query_params["once"])
        if request.method == "GET":
            return self.page(request, onwards="/", status_code=200)
        form = await _read(request, _LOGIN_BOUND)
        onwards = onwards_of(form.get("onwards", ""))
        check = form.get("check")
        if not check or not same(request.cookies.get(_CHECK), check):
            wrong = "The form has expired. Try again."
            return self.page(request, onwards=onwards, status_code=403, wrong=wrong)
        ground = self._access.admits(form.get("token", "").strip())
        person = holder(ground)
        if ground is None or person is None:
            return self.page(request, onwards=onwards, status_code=403, wrong=self._not_a_token())
        answer = RedirectResponse(onwards, status_code=303)
        self.enter(answer, request, ground, person)
        return answer

    async def _once(self, request: Request, token: str) -> Response:
        """Begin the session of a one-time link, which leaves the browser's address with the redirect."""
        ended = await asyncio.to_thread(self._access.redeems, token)
        if ended is not None:
            wrong = f"{_LINK_ENDS[ended]} Sign in with the admin token."
            return self.page(request, onwards="/", status_code=403, wrong=wrong)
        log.info("console.link_used")
        answer = RedirectResponse("/", status_code=303)
        self.enter(answer, request, "admin", Person(role="operator"))
        return answer

    def enter(self, answer: Response, request: HTTPConnection, ground: Ground, person: Person) -> None:
        """Begin a session with this answer."""
        cookie = self._sessions.begin(ground, person)
        set_cookie(answer, request, COOKIE, cookie, path="/", lasts_s=LASTS_S)

    async def logout(self, request: Request) -> Response:
        """End the session, and delete its cookie."""
        await self.form(request)
        self._sessions.end(request.cookies[COOKIE])
        answer = RedirectResponse(LOGIN, status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    def person(self, request: HTTPConnection) -> Person:
        """Who asks for a page: role, and the own name after a sign-in. `name` is "" after a token."""
        return person_of(request)

    def who(self, request: HTTPConnection, given: str) -> str:
        """The name to record: the person's own if a sign-in told it, else the one that was typed."""
        return self.person(request).name or given.strip()

    def form_token(self, request: HTTPConnection) -> str:
        """The token for the forms of a page in this session; "" without a session."""
        cookie = request.cookies.get(COOKIE)
        return self._sessions.form_token(cookie) if cookie and self._sessions.person(cookie) else ""

    def still_in(self, request: Request) -> bool:
        """True while the request's session lasts, or if the request carried a token."""
        return COOKIE not in request.cookies or self._sessions.person(request.cookies[COOKIE]) is not None

    async def form(self, request: Request, *, bound: int = _FORM_BOUND) -> Mapping[str, str]:
        """The fields of a form from a page of this session, of at most `bound` bytes. Raises BadOrder."""
        form = await _read(request, bound)
        wanted = self.form_token(request)
        if not wanted or not same(form.get("form_token"), wanted):
            raise BadOrder(403, "This form is not from your session. Reload the page and try again.")
        return form

    def page(self, request: HTTPConnection, *, onwards: str, status_code: int, wrong: str = "") -> Response:
        """The login form, below what went wrong; after it the person gets to the path `onwards`."""
        check = secrets.token_urlsafe(16)
        answer = self._templates.answer(
            "login.html",
            status_code=status_code,
            check=check,
            onwards=onwards,
            wrong=wrong,
            viewers=self._access.viewer_token() is not None,
            sso=self._access.oidc() is not None,
        )
        set_cookie(answer, request, _CHECK, check, path=LOGIN, lasts_s=3600)
        return answer

    def _not_a_token(self) -> str:
        if self._access.viewer_token() is None:
            return "That is not the admin token."
        return "That is neither the admin token nor the viewer token."


async def _read(request: Request, bound: int) -> dict[str, str]:
    """The form's fields. Reads at most `bound` bytes, because the sender may be unauthenticated."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bound:
            break
    fields = parse_qs(body[:bound].decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


_ONWARDS = re.compile(r"/(?!/)[!-\[\]-~]*")
"""A path of this host with its query: visible ASCII without a backslash. A browser drops tabs and line ends
anywhere in a URL, and reads a backslash as a slash, so that `/<tab>/host` is `//host`."""


def onwards_of(path: str) -> str:
    """The path to go on to; "/" if the path could lead to another host."""
    return path if len(path) <= _ONWARDS_BOUND and _ONWARDS.fullmatch(path) else "/"


def set_cookie(
    answer: Response,
    request: HTTPConnection,
    name: str,
    value: str,
    *,
    path: str,
    lasts_s: int,
    samesite: Literal["strict", "lax"] = "strict",
) -> None:
    """Set a cookie: Secure, except over plain HTTP on loopback, where not every browser would return it."""
    plain = request.url.scheme == "http" and is_loopback(request.headers.get("host", ""))
    answer.set_cookie(
        name, value, path=path, max_age=lasts_s, httponly=True, samesite=samesite, secure=not plain
    )


if TYPE_CHECKING:
    from console.access.openid import OpenIdProvider

STARTED = "canary_oidc"
STARTED_FOR_S = 600


class OidcPages:
    """Both pages. Without `oidc` in the config there are none (404)."""

    def __init__(
        self,
        settings: Callable[[], OidcSettings | None],
        sessions: Sessions,
        login: Login,
        templates: Templates,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._signer = sessions.signer
        self._login = login
        self._templates = templates
        self._made: OpenIdProvider | None = None

    def routes(self) -> list[Route]:
        """Both routes."""
        return [Route(OIDC_LOGIN, self.begin), Route(OIDC_CALLBACK, self.callback)]

    async def begin(self, request: Request) -> Response:
        """Send the person to the provider. `onwards` is the page to show afterwards."""
        settings, onwards = self._configured(), onwards_of(request.query_params.get("onwards", "/"))
        state = secrets.token_urlsafe(24)
        try:
            provider = await self._provider()
            url = await provider.authorization_url(
                settings,
                state=state,
                nonce=self._derived("nonce", state),
                verifier=self._derived("pkce", state),
            )
        except SignInFailed as problem:
            return self._failed(request, problem, onwards)
        answer = RedirectResponse(url, status_code=303)
        expires = f"{self._sessions.now() + STARTED_FOR_S:.0f}"
        started = self._signer.signed("sign-in", "oidc", expires, state, onwards)
        # Lax: the provider's page leads back here, and a strict cookie would not come with that.
        set_cookie(
            answer, request, STARTED, started, path=OIDC_CALLBACK, lasts_s=STARTED_FOR_S, samesite="lax"
        )
        return answer

    async def callback(self, request: Request) -> Response:
        """Begin the session of the person who comes back from the provider."""
        settings, onwards = self._configured(), "/"
        try:
            state, onwards = self._started(request)
            claims = await self._claims(settings, state, request.query_params)
            person = admitted(claims, settings)
        except SignInFailed as problem:
            return self._failed(request, problem, onwards)
        # The page leads on by itself: a redirect would still come from the provider's site, and the browser
        # would leave out the session's strict cookie.
        answer = self._templates.answer("signed_in.html", onwards=onwards, person=person, form_token="")
        self._login.enter(answer, request, "oidc", person)
        answer.delete_cookie(STARTED, path=OIDC_CALLBACK)
        return answer

    async def _claims(
        self, settings: OidcSettings, state: str, query: Mapping[str, str]
    ) -> Mapping[str, Any]:
        if "error" in query:
            said = query.get("error_description") or query["error"]
            raise SignInFailed(f"The sign-in provider refused: {said}.")
        if query.get("iss", settings.issuer) != settings.issuer:  # RFC 9207
            raise SignInFailed("The sign-in failed: another provider answered. Try again.")
        provider = await self._provider()
        return await provider.claims(
            settings,
            query.get("code", ""),
            nonce=self._derived("nonce", state),
            verifier=self._derived("pkce", state),
        )

    async def _provider(self) -> "OpenIdProvider":
        """What asks the provider. Its libraries take a third of a second to import, so most never do."""
        if self._made is None:
            self._made = await asyncio.to_thread(_provider)
        return self._made

    def _started(self, request: Request) -> tuple[str, str]:
        """(state, onwards) of the sign-in that this browser began. Raises SignInFailed."""
        found = self._signer.fields("sign-in", request.cookies.get(STARTED))
        if found is not None:
            expires, state, onwards = found[1]
            if float(expires) > self._sessions.now() and same(request.query_params.get("state"), state):
                return state, onwards
        raise SignInFailed("The sign-in was not begun in this browser, or took too long. Try again.")

    def _derived(self, what: str, state: str) -> str:
        return self._signer.signature(what, "oidc", state)

    def _configured(self) -> OidcSettings:
        settings = self._settings()
        if settings is None:
            raise HTTPException(404, "There is no `oidc` in the config.")
        return settings

    def _failed(self, request: Request, problem: SignInFailed, onwards: str) -> Response:
        log.warning("console.sign_in_failed", reason=str(problem))
        return self._login.page(request, onwards=onwards, status_code=problem.status, wrong=str(problem))


def _provider() -> "OpenIdProvider":
    from console.access.openid import OpenIdProvider

    return OpenIdProvider(time.monotonic)
