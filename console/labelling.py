"""The page on which a person labels captured pairs, and the labels' summary.

Labelling is blind: the answers are called "A" and "B"; the exchange's id decides which is the candidate's.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console import words
from console.login import Forged, Login
from console.rendering import Templates
from control.operator import Operator
from control.orders import BadOrder
from records.capture import Capture
from records.labels import Label, Right
from records.wilson import wilson

SPOT, FULL = 50, 200
"""Below SPOT labels the page shows counts only, no rates. From FULL labels on it is a full evaluation."""

_WHO_BOUND = 200


class Labelling:
    """The labelling page and its form."""

    def __init__(self, operator: Operator, login: Login, templates: Templates) -> None:
        self._operator = operator
        self._login = login
        self._templates = templates

    def routes(self) -> list[Route]:
        """Both routes."""
        path = "/canaries/{name}/label"
        return [Route(path, self.ask), Route(path, self.label, methods=["POST"])]

    async def ask(self, request: Request) -> Response:
        """GET: the oldest pair without a label."""
        name, category = request.path_params["name"], request.query_params.get("category") or None
        try:
            asked = await self._operator.unlabelled(name, category)
        except BadOrder as problem:
            return self._answer(request, "problem.html", problem.status, message=problem.message)
        pair = in_blind_order(*asked.pair) if asked.pair is not None else None
        return self._answer(
            request,
            "label.html",
            name=name,
            category=category or "",
            who=request.query_params.get("who", "")[:_WHO_BOUND],
            pair=pair,
            labelled=asked.labelled,
        )

    async def label(self, request: Request) -> Response:
        """POST: store a label, and go on to the next pair."""
        name = request.path_params["name"]
        try:
            form = await self._login.form(request)
            exchange, who = form.get("exchange", ""), form.get("who", "").strip()[:_WHO_BOUND]
            if not who:
                raise BadOrder(400, "Not saved: enter your name. It is stored with the label.")
            await self._operator.label(name, exchange, right_of(form.get("right", ""), exchange), who=who)
        except Forged as problem:
            return self._answer(request, "problem.html", 403, message=str(problem))
        except BadOrder as problem:
            return self._answer(request, "problem.html", problem.status, message=problem.message)
        again = urlencode({"category": form.get("category", ""), "who": who})
        return RedirectResponse(f"/canaries/{quote(name)}/label?{again}", status_code=303)

    def _answer(self, request: Request, template: str, status_code: int = 200, **values: object) -> Response:
        token = self._login.form_token(request)
        return self._templates.answer(template, status_code=status_code, form_token=token, **values)


def candidate_is_a(exchange_id: str) -> bool:
    """Whether the candidate's answer comes first: true for half of the pairs, constant for each pair."""
    return zlib.crc32(exchange_id.encode()) % 2 == 0


def in_blind_order(real: Capture, copy: Capture) -> tuple[Capture, Capture, Capture]:
    """(the question, answer A, answer B)."""
    return (real, copy, real) if candidate_is_a(real.about.exchange_id) else (real, real, copy)


def right_of(choice: str, exchange_id: str) -> Right:
    """The arm whose answer is right, from the form's choice. Raises BadOrder (400)."""
    letters: dict[str, Right] = {"a": "baseline", "b": "candidate"}
    if candidate_is_a(exchange_id):
        letters = {"a": "candidate", "b": "baseline"}
    known: Mapping[str, Right] = {**letters, "both": "both", "neither": "neither", "unclear": "unclear"}
    if choice not in known:
        raise BadOrder(400, f"{choice!r} is not a label.")
    return known[choice]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSummary:
    """The labels' summary in sentences. `arms` has (arm, its share of right answers); empty without clear
    labels."""

    extent: str
    arms: tuple[tuple[str, str], ...]
    apart: str


def summarized(labels: Collection[Label]) -> LabelSummary | None:
    """Sum up a canary's labels; None without labels. Unclear labels are only counted."""
    clear = [each.right for each in labels if each.right != "unclear"]
    if not labels:
        return None
    unclear = len(labels) - len(clear)
    right = {arm: sum(each in (arm, "both") for each in clear) for arm in ("baseline", "candidate")}
    only = {arm: sum(each == arm for each in clear) for arm in right}
    return LabelSummary(
        extent=f"{words.count(len(clear))} labelled, {words.count(unclear)} unclear: {_extent(len(clear))}",
        arms=tuple((arm, _share(found, len(clear))) for arm, found in right.items()) if clear else (),
        apart=f"Only the candidate is right in {only['candidate']}, only the baseline in {only['baseline']}.",
    )


def _extent(count: int) -> str:
    if count < SPOT:
        return f"a spot check. Below {SPOT} labels there are no rates."
    return "a partial evaluation." if count < FULL else "a full evaluation."


def _share(right: int, of: int) -> str:
    if of < SPOT:
        return f"{right} of {of}"
    low, high = wilson(right, of)
    return f"{words.percent(right / of)} ({words.percent(low)} to {words.percent(high)}), {right} of {of}"
