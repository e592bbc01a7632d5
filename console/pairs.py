"""The page with captured pairs: the baseline's answer to a user beside the candidate's answer to a copy.

For a canary with `capture` in its present config, and for one that has left the config. Texts of callers and
models are always escaped.
"""

import time
from datetime import UTC, date, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.judged import view
from console.labelling import summarized
from console.login import Login
from console.rendering import Templates
from control.operator import Operator
from control.orders import BadOrder

SHOWN = 20
_DAY = timedelta(days=1)


class Pairs:
    """The page with a day's pairs, oldest first."""

    def __init__(self, operator: Operator, login: Login, templates: Templates) -> None:
        self._operator = operator
        self._login = login
        self._templates = templates

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/canaries/{name}/pairs", self.pairs)]

    async def pairs(self, request: Request) -> Response:
        """GET ?day=2026-11-24&category=…&after=…: the pairs of a UTC day, by default today."""
        name, query = request.path_params["name"], request.query_params
        try:
            self._must_capture(name)
            day = day_asked(query.get("day"))
            category = query.get("category") or None
            labels = await self._operator.labels(name)
            found = await self._operator.pairs(
                name,
                since=max(_starts(day), _after(query.get("after"))),
                until=_starts(day + _DAY),
                category=category,
                limit=SHOWN + 1,
            )
            shown = [real.about.exchange_id for real, _ in found[:SHOWN]]
            judgements = await self._operator.judgements(shown)
        except BadOrder as problem:
            return self._answer(request, "problem.html", problem.status, message=problem.message)
        return self._answer(
            request,
            "pairs.html",
            name=name,
            day=day,
            before=day - _DAY,
            later=day + _DAY,
            is_today=day >= day_asked(None),
            category=category or "",
            pairs=found[:SHOWN],
            labels=labels,
            judgements={exchange: view(each) for exchange, each in judgements.items()},
            past=name in self._operator.past(),
            summary=summarized(labels.values()),
            after=found[SHOWN][0].about.at if len(found) > SHOWN else None,
        )

    def _must_capture(self, name: str) -> None:
        """Raises BadOrder (404) for a canary that has no pairs by its config. A past one may have some."""
        if name in self._operator.past():
            return
        canaries = {each["name"]: each for each in self._operator.status()["canaries"]}
        if name not in canaries:
            raise BadOrder(404, f"There is no canary {name!r}.")
        if not canaries[name]["captures"]:
            raise BadOrder(404, f"{name} captures no texts: its config has no `capture`.")

    def _answer(self, request: Request, template: str, status_code: int = 200, **values: object) -> Response:
        shown = self._login.shown(request)
        return self._templates.answer(template, status_code=status_code, **shown, **values)


def day_asked(text: str | None) -> date:
    """Parse a UTC day; today for None. Raises BadOrder (400)."""
    try:
        day = date.fromisoformat(text) if text else datetime.fromtimestamp(time.time(), UTC).date()
        _ = day - _DAY, day + _DAY  # the page links to both
    except (ValueError, OverflowError):
        raise BadOrder(400, f"{text!r} is not a day; write it as 2026-11-24.") from None
    return day


def _starts(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _after(text: str | None) -> float:
    try:
        return float(text or 0.0)
    except ValueError:
        raise BadOrder(400, f"{text!r} is not a time; write it in UTC seconds.") from None
