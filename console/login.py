"""Login and logout: a form takes a token, a cookie carries the session."""

import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from console.guard import COOKIE, LOGIN, LOGOUT, Access, holder, is_loopback, person_of, plainly_forbidden
from console.rendering import Templates
from console.session import LASTS_S, Ground, Person, Sessions, same

_CHECK = "canary_login"
_LOGIN_BOUND, _FORM_BOUND = 8192, 24576
_ONWARDS_BOUND = 2400
"""Bytes of a path with its query. A link to an order has 200 characters of reason, at most 9 bytes each."""


class Forged(Exception):
    """A form that does not come from a page of this session."""


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
        return self._templates.answer("problem.html", status_code=403, message=message, **self.shown(request))

    async def login(self, request: Request) -> Response:
        """Show the login form, or check the token and begin a session. A cookie with the same value as the
        form's `check` field proves that the form is ours."""
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

    def enter(self, answer: Response, request: HTTPConnection, ground: Ground, person: Person) -> None:
        """Begin a session with this answer."""
        cookie = self._sessions.begin(ground, person)
        set_cookie(answer, request, COOKIE, cookie, path="/", lasts_s=LASTS_S)

    async def logout(self, request: Request) -> Response:
        """End the session, and delete its cookie."""
        try:
            await self.form(request)
        except Forged as problem:
            return self._templates.answer(
                "problem.html", status_code=403, message=str(problem), form_token=""
            )
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

    def shown(self, request: HTTPConnection) -> dict[str, Any]:
        """What every page's template takes of the session: its form token, and who asks."""
        return {"form_token": self.form_token(request), "person": self.person(request)}

    def form_token(self, request: HTTPConnection) -> str:
        """The token for the forms of a page in this session; "" without a session."""
        cookie = request.cookies.get(COOKIE)
        return self._sessions.form_token(cookie) if cookie and self._sessions.person(cookie) else ""

    def still_in(self, request: Request) -> bool:
        """True while the request's session lasts, or if the request carried a token."""
        return COOKIE not in request.cookies or self._sessions.person(request.cookies[COOKIE]) is not None

    async def form(self, request: Request, *, bound: int = _FORM_BOUND) -> Mapping[str, str]:
        """The fields of a form from a page of this session, of at most `bound` bytes. Raises Forged."""
        form = await _read(request, bound)
        wanted = self.form_token(request)
        if not wanted or not same(form.get("form_token"), wanted):
            raise Forged("This form is not from your session. Reload the page and try again.")
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
