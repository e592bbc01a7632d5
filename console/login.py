"""In and out: the admin token by form, then a session's cookie, then the end of it."""

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
    """A form that none of our pages has sent."""


class Login:
    """The door of the console: what stands before it, and the forms that come through it."""

    def __init__(self, access: Access, sessions: Sessions, templates: Templates) -> None:
        self._access = access
        self._sessions = sessions
        self._templates = templates

    def routes(self) -> list[Route]:
        """The way in and the way out."""
        return [
            Route(LOGIN, self.login, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
        ]

    def door(self, request: HTTPConnection) -> Response:
        """For who has no session: the login form in the page's place. A script's request loads it whole."""
        if "hx-request" in request.headers:
            return PlainTextResponse("log in", 401, {"hx-refresh": "true"})
        path = request.scope["path"] if request.scope["method"] == "GET" else "/"
        return self._form(request, onwards=path, status_code=401)

    async def login(self, request: Request) -> Response:
        """The token by form. Its check is a cookie that only this form's own page can have read."""
        if request.method == "GET":
            return self._form(request, onwards="/", status_code=200)
        form = await _read(request, _LOGIN_BOUND)
        onwards = _onwards(form.get("onwards", ""))
        check = form.get("check")
        if not check or not same(request.cookies.get(_CHECK), check):
            return self._form(request, onwards=onwards, status_code=403, wrong="The form was old: try again.")
        if not self._access.admits(form.get("token", "").strip()):
            return self._form(request, onwards=onwards, status_code=403, wrong="That is not the admin token.")
        answer = RedirectResponse(onwards, status_code=303)
        _set(answer, request, COOKIE, self._sessions.begin(), path="/", lasts_s=LASTS_S)
        return answer

    async def logout(self, request: Request) -> Response:
        """End the session, here and in the browser."""
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
        """What the forms of a page answered to this request carry; "" where there is no session."""
        cookie = request.cookies.get(COOKIE)
        return self._sessions.form_token(cookie) if cookie and self._sessions.admits(cookie) else ""

    def still_in(self, request: Request) -> bool:
        """True while the request's session lasts, or where it brought the token itself."""
        return COOKIE not in request.cookies or self._sessions.admits(request.cookies[COOKIE])

    async def form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form that one of this session's pages has sent. Raises Forged."""
        form = await _read(request, _FORM_BOUND)
        wanted = self.form_token(request)
        if not wanted or not same(form.get("form_token"), wanted):
            raise Forged("The form is not of this session: load the page again, and give the order there.")
        return form

    def _form(self, request: HTTPConnection, *, onwards: str, status_code: int, wrong: str = "") -> Response:
        check = secrets.token_urlsafe(16)
        answer = self._templates.answer(
            "login.html", status_code=status_code, check=check, onwards=onwards, wrong=wrong
        )
        _set(answer, request, _CHECK, check, path=LOGIN, lasts_s=3600)
        return answer


async def _read(request: Request, bound: int) -> dict[str, str]:
    """A form as far as it may go: who sends more may have no token yet, and gets no memory either."""
    kept = b""
    async for part in request.stream():
        kept += part
        if len(kept) > bound:
            break
    fields = parse_qs(kept[:bound].decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _onwards(path: str) -> str:
    """A page of ours to go on to: never another host's."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isascii() else "/"


def _set(
    answer: Response, request: HTTPConnection, name: str, value: str, *, path: str, lasts_s: int
) -> None:
    """Secure but on this machine itself, where there is no TLS and not every browser would send it back."""
    plain = request.url.scheme == "http" and is_loopback(request.headers.get("host", ""))
    answer.set_cookie(
        name, value, path=path, max_age=lasts_s, httponly=True, samesite="strict", secure=not plain
    )
