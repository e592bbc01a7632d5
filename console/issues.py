"""The pages of known issues: which model has which, what models got wrong, and the form that reports one."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.access.login import Login
from control.operator.issues import Wanted, add_issue, modes, source_of
from control.operator.operator import Operator
from control.operator.orders import BadOrder
from pages.words.issues import became, example_address, first_seen
from records.store import Store
from records.store.benchmarks import BenchFailures

if TYPE_CHECKING:
    from bench.known_issues import Mode

_WHO_BOUND, _NAME_BOUND, _TEXT_BOUND = 200, 200, 4000
_MOST_WRONG = 50


class IssuePages:
    """The list of known issues, the wrong answers of benchmarks, and the form for a new one."""

    def __init__(self, operator: Operator, login: Login) -> None:
        self._operator = operator
        self._login = login

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("/issues", self.issues),
            Route("/issues", self.add, methods=["POST"]),
            Route("/issues/wrong", self.wrong),
            Route("/issues/new", self.ask),
        ]

    def _modes(self, store: Store) -> "Sequence[Mode]":
        return modes(store, self._operator.settings().issues_file)

    async def issues(self, request: Request) -> Response:
        """GET: every known issue, with the models that were asked."""
        found = await self._operator.ask(self._modes)
        return self._login.answer(request, "issues.html", modes=found, became=became, first_seen=first_seen)

    async def wrong(self, request: Request) -> Response:
        """GET: the wrong answers of each candidate's newest benchmark, the newest first."""
        found = await self._operator.ask(lambda store: BenchFailures(store).newest(now=time.time()))
        shown = [
            (
                model,
                len(rows),
                [
                    (row, example_address(str(row["dataset"]), str(row["id"]), model))
                    for row in rows[:_MOST_WRONG]
                ],
            )
            for model, rows in reversed([*found.items()])
        ]
        return self._login.answer(request, "issues_wrong.html", models=shown)

    async def ask(self, request: Request) -> Response:
        """GET ?exchange=… or ?example=DATASET:ID&since=MODEL: the form that makes it a known issue."""
        wanted = _wanted(request.query_params)
        settings = self._operator.settings()
        found = await self._operator.ask(lambda store: source_of(store, settings, wanted))
        known = [each.name for each in await self._operator.ask(self._modes)]
        return self._login.answer(request, "issue.html", wanted=wanted, found=found, known=known)

    async def add(self, request: Request) -> Response:
        """POST: store it, and show all."""
        form = await self._login.form(request)
        who, name = self._login.who(request, form.get("who", "")), form.get("name", "").strip()
        if not who or not name:
            raise BadOrder(400, "Not saved: enter the issue's name and your own.")
        description = form.get("description", "").strip()[:_TEXT_BOUND]
        settings, wanted, signed = self._operator.settings(), _wanted(form), who[:_WHO_BOUND]
        await self._operator.ask(
            lambda store: add_issue(
                store, settings, wanted, name[:_NAME_BOUND], description, who=signed, at=time.time()
            )
        )
        return RedirectResponse("/issues", status_code=303)


def _wanted(fields: Mapping[str, str]) -> Wanted:
    return Wanted(**{name: fields.get(name, "").strip() for name in ("exchange", "example", "since")})
