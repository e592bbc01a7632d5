"""Login and logout: a form takes the admin token, a cookie carries the session."""

import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from console.guard import COOKIE, LOGIN, Access, is_loopback
from console.rendering import Templates
from console.session import LASTS_S, Sessions, same

_CHECK = "canary_login"
_LOGIN_BOUND, _FORM_BOUND = 4096, 24576


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
            Route("/logout", self.logout, methods=["POST"]),
        ]

    def challenge(self, request: HTTPConnection) -> Response:
        """The login form, for a request without a session. Makes htmx reload the page."""
        if "hx-request" in request.headers:
            return PlainTextResponse("log in", 401, {"hx-refresh": "true"})
        path = request.scope["path"] if request.scope["method"] == "GET" else "/"
        return self._form(request, onwards=path, status_code=401)

    async def login(self, request: Request) -> Response:
        """Show the login form, or check the token and begin a session. A cookie with the same value as the
        form's `check` field proves that the form is ours."""
        if request.method == "GET":
            return self._form(request, onwards="/", status_code=200)
        form = await _read(request, _LOGIN_BOUND)
        onwards = _onwards(form.get("onwards", ""))
        check = form.get("check")
        if not check or not same(request.cookies.get(_CHECK), check):
            wrong = "The form has expired. Try again."
            return self._form(request, onwards=onwards, status_code=403, wrong=wrong)
        if not self._access.admits(form.get("token", "").strip()):
            return self._form(request, onwards=onwards, status_code=403, wrong="That is not the admin token.")
        answer = RedirectResponse(onwards, status_code=303)
        _set(answer, request, COOKIE, self._sessions.begin(), path="/", lasts_s=LASTS_S)
        return answer

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

    def form_token(self, request: Request) -> str:
        """The token for the forms of a page in this session; "" without a session."""
        cookie = request.cookies.get(COOKIE)
        return self._sessions.form_token(cookie) if cookie and self._sessions.admits(cookie) else ""

    def still_in(self, request: Request) -> bool:
        """True while the request's session lasts, or if the request carried the admin token."""
        return COOKIE not in request.cookies or self._sessions.admits(request.cookies[COOKIE])

    async def form(self, request: Request, *, bound: int = _FORM_BOUND) -> Mapping[str, str]:
        """The fields of a form from a page of this session, of at most `bound` bytes. Raises Forged."""
        form = await _read(request, bound)
        wanted = self.form_token(request)
        if not wanted or not same(form.get("form_token"), wanted):
            raise Forged("This form is not from your session. Reload the page and try again.")
        return form

    def _form(self, request: HTTPConnection, *, onwards: str, status_code: int, wrong: str = "") -> Response:
        check = secrets.token_urlsafe(16)
        answer = self._templates.answer(
            "login.html", status_code=status_code, check=check, onwards=onwards, wrong=wrong
        )
        _set(answer, request, _CHECK, check, path=LOGIN, lasts_s=3600)
        return answer


async def _read(request: Request, bound: int) -> dict[str, str]:
    """The form's fields. Reads at most `bound` bytes, because the sender may be unauthenticated."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bound:
            break
    fields = parse_qs(body[:bound].decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _onwards(path: str) -> str:
    """The path to redirect to; "/" if the path could lead to another host."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isascii() else "/"


def _set(
    answer: Response, request: HTTPConnection, name: str, value: str, *, path: str, lasts_s: int
) -> None:
    """Set a cookie: Secure, except over plain HTTP on loopback, where not every browser would return it."""
    plain = request.url.scheme == "http" and is_loopback(request.headers.get("host", ""))
    answer.set_cookie(
        name, value, path=path, max_age=lasts_s, httponly=True, samesite="strict", secure=not plain
    )
