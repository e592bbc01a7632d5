"""The releases' pages: all of them in a list, and each in one place."""

import asyncio

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from console.login import Login
from console.rendering import Templates, headers_of_whole, release_in, releases_in_short
from control.operator import Operator
from control.orders import BadOrder


class ReleasePages:
    """The two pages."""

    def __init__(self, operator: Operator, login: Login, templates: Templates) -> None:
        self._operator = operator
        self._login = login
        self._templates = templates

    def routes(self) -> list[Route]:
        """Both pages."""
        return [Route("/releases", self.all), Route("/releases/{id}", self.one)]

    async def all(self, request: Request) -> Response:
        """The releases, newest first."""
        try:
            found = await asyncio.to_thread(releases_in_short, await self._operator.releases())
        except BadOrder as problem:
            return self._problem(request, problem)
        return self._templates.answer("releases.html", **self._login.shown(request), releases=found)

    async def one(self, request: Request) -> Response:
        """One release, with the present report of what is under way."""
        try:
            found = await self._operator.release(request.path_params["id"])
            text = await asyncio.to_thread(release_in, "html", found)
        except BadOrder as problem:
            return self._problem(request, problem)
        return HTMLResponse(text, headers=headers_of_whole(text))

    def _problem(self, request: Request, problem: BadOrder) -> Response:
        shown = self._login.shown(request)
        return self._templates.answer(
            "problem.html", status_code=problem.status, **shown, message=problem.message
        )
