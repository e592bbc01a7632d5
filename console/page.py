"""The operator's page: where every canary stands, read at a glance. Server-rendered, no outside request."""

from pathlib import Path
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from console.control import BadOrder, Control
from console.guard import COOKIE, Access

_SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_FORM_BOUND = 4096


class Page:
    """The pages, over what the admin process can tell."""

    def __init__(self, control: Control, access: Access) -> None:
        self._control = control
        self._access = access
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(seconds=_seconds, percent=_percent, dollars=_dollars)

    def routes(self) -> list[Route]:
        """Every page."""
        return [
            Route("/", self.overview),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/canaries/{name}/report", self.report),
        ]

    async def overview(self, request: Request) -> Response:
        """All canaries, their arms and guardrails; refreshes itself."""
        degraded = [*self._control.degraded()]
        try:
            audit = await self._control.audit(12)
        except BadOrder as problem:
            audit = []
            degraded.append(f"the audit log cannot be read: {problem.message}")
        canaries = self._control.status()["canaries"]
        return self._show("overview.html", canaries=canaries, degraded=degraded, audit=audit)

    async def report(self, request: Request) -> Response:
        """One canary's report, as it would be sent to others."""
        try:
            text = await self._control.report(request.path_params["name"], "html")
        except BadOrder as problem:
            return self._show("problem.html", status_code=problem.status, message=problem.message)
        return HTMLResponse(text, headers=_SECURITY)

    async def login(self, request: Request) -> Response:
        """The token by form; from then on by an HttpOnly, SameSite=Strict cookie."""
        if request.method == "GET":
            return self._show("login.html", wrong=False)
        form = parse_qs(await _beginning(request))
        if not self._access.admits(form.get("token", [""])[0].strip()):
            return self._show("login.html", status_code=403, wrong=True)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE,
            self._access.session(),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            max_age=12 * 3600,
        )
        return answer

    def _show(self, template: str, *, status_code: int = 200, **values: object) -> Response:
        text = self._templates.get_template(template).render(**values)
        return HTMLResponse(text, status_code=status_code, headers=_SECURITY)


async def _beginning(request: Request) -> str:
    """The form as far as it may go: who sends more has no token yet, and gets no memory either."""
    kept = b""
    async for part in request.stream():
        kept += part
        if len(kept) > _FORM_BOUND:
            break
    return kept[:_FORM_BOUND].decode("utf-8", "replace")


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.2f} %"


def _dollars(value: float | None) -> str:
    return "–" if value is None else f"${value:,.4f}"
