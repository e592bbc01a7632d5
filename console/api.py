"""The JSON API under `/api/`, for the command line and pipelines."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from alerts.incidents.notice import utc_text
from common.text import visible
from console.access.guard import person_of
from console.history import release_document
from console.rendering import comparison_in, releases_in_short, report_in, session_in
from control.operator.operator import Operator
from control.operator.orders import LONGEST_STAGE, MOST_MINUTES, ORDERS, BadOrder
from control.operator.status import document_of
from records.store.decisions import CHOICES

_FORMS = {"json": "application/json", "markdown": "text/markdown", "html": "text/html"}
_WHO_BOUND, _REASON_BOUND, _BODY_BOUND = 200, 2000, 64 << 10
_ARM_BOUND = 64 << 20
"""Bytes of an order with an arm, whose texts come with it."""


class Api:
    """The API's routes."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def routes(self) -> list[Route]:
        """Every route of the API."""
        return [
            Route("/api/status", self.status),
            Route("/api/explain", self.explain),
            Route("/api/audit", self.audit),
            Route("/api/callers", self.callers),
            Route("/api/compare", self.compare),
            Route("/api/releases", self.releases),
            Route("/api/releases/{which:path}", self.release),
            Route("/api/canaries/{name}/report", self.report),
            Route("/api/canaries/{name}/reports", self.reports),
            Route("/api/canaries/{name}/decide", self.decide, methods=["POST"]),
            Route("/api/canaries/{name}/preflight", self.preflight, methods=["POST"]),
            Route("/api/canaries/{name}/rollbacks", self.rollbacks),
            Route("/api/canaries/{name}/end", self.end, methods=["POST"]),
            Route("/api/standing/{name}/begin", self.begin, methods=["POST"]),
            Route("/api/standing/{name}/revert", self.revert, methods=["POST"]),
            Route("/api/canaries/{name}/{order}", self.order, methods=["POST"]),
        ]

    async def status(self, request: Request) -> Response:
        """GET: the status document."""
        return JSONResponse(self._operator.status())

    async def explain(self, request: Request) -> Response:
        """GET ?unit=…: which arm the unit would get in each canary, and why; ?session=…: what is stored of a
        session, as `json`, `markdown` or `html`."""
        unit, session = (request.query_params.get(name, "").strip() for name in ("unit", "session"))
        if bool(unit) == bool(session):
            return _problem(400, "name a unit or a session: /api/explain?unit=… or /api/explain?session=…")
        if unit:
            return JSONResponse(self._operator.explain(unit))

        async def made(form: str) -> str:
            return await asyncio.to_thread(session_in, form, await self._operator.session(session))

        return await _formed(request, made)

    async def audit(self, request: Request) -> Response:
        """GET ?limit=100: the newest audit entries."""
        return JSONResponse(await self._operator.audit(_limit(request)))

    async def callers(self, request: Request) -> Response:
        """GET: every caller with its requests, refusals and when it was last seen; as `canary callers list -o
        json`."""
        return JSONResponse(self._operator.callers())

    async def rollbacks(self, request: Request) -> Response:
        """GET ?limit=100: the canary's rollbacks and their evidence, the newest first."""
        found = await self._operator.rollbacks(request.path_params["name"], _limit(request))
        return JSONResponse([document_of(each) for each in found])

    async def releases(self, request: Request) -> Response:
        """GET: every release in short, newest first; as `canary release list -o json`."""
        return JSONResponse({"releases": await self._operator.ask(releases_in_short)})

    async def release(self, request: Request) -> Response:
        """GET ?for=vendor&form=json|markdown|html&texts=1: one release by its id or its candidate, or its
        document for a reader; as `canary release show -o json`. Texts are for operators."""
        which, query = request.path_params["which"], request.query_params
        reads_texts = person_of(request).reads_texts

        async def made(form: str) -> str:
            return await release_document(self._operator, which, form, query, reads_texts=reads_texts)

        return await _formed(request, made)

    async def report(self, request: Request) -> Response:
        """GET ?form=json|markdown|html: the canary's report; for a viewer without the judge's reasons."""
        name, quoting = request.path_params["name"], person_of(request).reads_texts

        async def made(form: str) -> str:
            return await asyncio.to_thread(
                report_in, form, await self._operator.report(name, quoting=quoting)
            )

        return await _formed(request, made)

    async def compare(self, request: Request) -> Response:
        """GET ?canary=A&canary=B&form=json|markdown|html: the candidates beside each other."""
        names = request.query_params.getlist("canary")

        async def made(form: str) -> str:
            return await asyncio.to_thread(comparison_in, form, await self._operator.compare(names))

        return await _formed(request, made)

    async def reports(self, request: Request) -> Response:
        """GET ?limit=100: the reports of the report job, newest first; ?day=2026-11-27: one whole report."""
        name, day = request.path_params["name"], request.query_params.get("day")
        if day is not None:
            return JSONResponse((await self._operator.daily_report(name, day)).document)
        found = await self._operator.daily_reports(name, _limit(request))
        return JSONResponse([{**asdict(each), "at": utc_text(each.at)} for each in found])

    async def decide(self, request: Request) -> Response:
        """POST {"decision", "who", "reason", "despite"?, "minutes"?, "stage"?}: record a decision."""
        try:
            decision = _decision_document(await _body(request))
            done = await self._operator.decide(request.path_params["name"], **decision)
        except ValueError:
            return _problem(
                400,
                f'send JSON: {{"decision": "{" | ".join(CHOICES)}", "who": "…", "reason": "…"}}, '
                'and, only with the decision ship, "despite": the names of all misses that it outweighs, and '
                "of what is undecided",
            )
        return JSONResponse(done)

    async def preflight(self, request: Request) -> Response:
        """POST: ask the candidate now; the answer is that of `canary preflight -o json`."""
        return JSONResponse(await self._operator.preflight(request.path_params["name"]))

    async def begin(self, request: Request) -> Response:
        """POST {"arm": {"model", …}, "who", "reason"?, "start"?}: begin a trial of a standing canary. `start:
        manual` waits for a person whatever the config says."""
        try:
            document = await _body(request, _ARM_BOUND)
            arm = document.pop("arm", None) if isinstance(document, dict) else None
            if not isinstance(arm, dict) or document.get("start") not in (None, "manual"):
                raise ValueError
            by_hand, signed = document.get("start") == "manual", _signed(document)
            done = await self._operator.begin(request.path_params["name"], arm, by_hand=by_hand, **signed)
        except ValueError:
            return _problem(400, 'send JSON: {"arm": {"model": "…"}, "who": "…", "reason": "…"}')
        return JSONResponse(done)

    async def revert(self, request: Request) -> Response:
        """POST {"who", "reason", "despite_retirement"?}: give everybody the baseline before the one in
        force."""
        try:
            order = _order_document(await _body(request))
        except ValueError:
            return _problem(400, 'send JSON: {"who": "…", "reason": "…"}')
        given = {name: order[name] for name in ("who", "reason", "despite_retirement")}
        return JSONResponse(await self._operator.revert(request.path_params["name"], **given))

    async def end(self, request: Request) -> Response:
        """POST {"who", "reason"?}: end a trial of a standing canary that never ran."""
        return await self._signed(request, self._operator.end)

    async def _signed(self, request: Request, act: Callable[..., Awaitable[Mapping[str, Any]]]) -> Response:
        try:
            signed = _signed(await _body(request))
        except ValueError:
            return _problem(400, 'send JSON: {"who": "…", "reason": "…"}')
        return JSONResponse(await act(request.path_params["name"], **signed))

    async def order(self, request: Request) -> Response:
        """POST {"who", "reason", "share"?, "hard"?, "against_verdict"?, "despite_retirement"?, "minutes"?,
        "stage"?}: one order to a canary (`ORDERS`). 202: a promotion that wants two people is asked for;
        `promote_asked` says until when."""
        order = request.path_params["order"]
        if order not in ORDERS:
            return _problem(404, f"there is no such order; use {', '.join(ORDERS)}")
        try:
            document = _order_document(await _body(request))
            done = await self._operator.order(request.path_params["name"], order, **document)
            status = 202 if done.get("promote_asked") else 200
        except ValueError:
            return _problem(
                400,
                'send JSON: {"who": "…", "reason": "…"}, and "share" for ramp, "hard" for rollback, '
                '"against_verdict" for promote, "despite_retirement" for promote and rollback',
            )
        return JSONResponse(done, status_code=status)


async def _formed(request: Request, make: Callable[[str], Awaitable[str]]) -> Response:
    """The document in the form that the request asks for."""
    form = request.query_params.get("form", "json")
    if form not in _FORMS:
        return _problem(400, "form must be json, markdown or html")
    text = await make(form)
    return HTMLResponse(text) if form == "html" else PlainTextResponse(visible(text), media_type=_FORMS[form])


def refused(request: Request, problem: Exception) -> Response:
    """The response to 404 and 405: JSON under `/api/`, like every other error of the API."""
    if not isinstance(problem, HTTPException):
        raise problem
    if not is_api(request):
        return PlainTextResponse(problem.detail, problem.status_code, problem.headers)
    path, takes = request.url.path, ", ".join(sorted((problem.headers or {}).get("Allow", "").split(", ")))
    message = f"{path} only allows {takes}" if takes else f"there is no {path}"
    return JSONResponse({"error": message}, problem.status_code, problem.headers)


def broken(request: Request, problem: Exception) -> Response:
    """The response to an unexpected exception (500). Starlette raises the exception again, for the log."""
    message = "internal error in canary; see the admin process's log"
    return _problem(500, message) if is_api(request) else PlainTextResponse(message, 500)


def order_refused(problem: BadOrder) -> Response:
    """The response to what cannot be done, with what is legal."""
    return _problem(problem.status, problem.message)


def is_api(request: Request) -> bool:
    """Whether the request is for the JSON API."""
    return f"{request.url.path}/".startswith("/api/")


async def _body(request: Request, most: int = _BODY_BOUND) -> Any:
    """The request's JSON, of at most so many bytes. Raises ValueError if it is not JSON, BadOrder (413) if it
    is larger."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise BadOrder(413, f"an order may have at most {most >> 10} KiB")
    try:
        return json.loads(body)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def _limit(request: Request) -> int:
    limit = request.query_params.get("limit", "100")
    if len(limit) > len("1000") or not limit.isdecimal() or not 1 <= int(limit) <= 1000:
        raise BadOrder(400, "limit must be a number from 1 to 1000")
    return int(limit)


def _order_document(document: Any) -> dict[str, Any]:
    """Raises ValueError if the document is not an order, BadOrder if the name or the share is invalid."""
    if not isinstance(document, dict):
        raise ValueError
    who, reason, share = document.get("who", ""), document.get("reason", ""), document.get("share")
    flags = {name: document.get(name, False) for name in ("hard", "against_verdict", "despite_retirement")}
    if not isinstance(who, str) or not isinstance(reason, str):
        raise ValueError
    if not all(isinstance(each, bool) for each in flags.values()):
        raise ValueError
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float)):
        raise ValueError
    if share is not None and not 0.0 <= share <= 1.0:
        raise BadOrder(400, '"share" must be between 0 and 1, for example 0.1 for 10 %')
    _must_be_short(who)
    return {
        "who": who,
        "reason": reason[:_REASON_BOUND],
        "share": share,
        **flags,
        "minutes": _minutes(document),
        "stage": _stage(document),
    }


def _decision_document(document: Any) -> dict[str, Any]:
    """Raises ValueError if the document is not a decision, BadOrder if the name is invalid.

    A decision needs `who` and `reason`; `despite` is only for ship.
    """
    if not isinstance(document, dict) or document.get("decision") not in CHOICES:
        raise ValueError
    who, reason, despite = (document.get(name) or "" for name in ("who", "reason", "despite"))
    names = despite.split(",") if isinstance(despite, str) else despite
    if not isinstance(names, list) or not all(isinstance(each, str) for each in (who, reason, *names)):
        raise ValueError
    who, reason, names = who.strip(), reason.strip(), [each.strip() for each in names if each.strip()]
    if not who or not reason or (names and document["decision"] != "ship"):
        raise ValueError
    _must_be_short(who)
    bound = slice(_REASON_BOUND)
    return {
        "choice": document["decision"],
        "who": who,
        "reason": reason[bound],
        "despite": names,
        "minutes": _minutes(document),
        "stage": _stage(document),
    }


def _signed(document: Any) -> dict[str, str]:
    """Who orders, and why. Raises ValueError, BadOrder (400)."""
    order = _order_document(document)
    return {"who": order["who"], "reason": order["reason"]}


def _minutes(document: Mapping[str, Any]) -> float | None:
    """The time that a person spent. Raises BadOrder (400)."""
    minutes = document.get("minutes")
    if minutes is None:
        return None
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= MOST_MINUTES:
        raise BadOrder(400, f'"minutes" must be above 0 and at most {MOST_MINUTES}')
    return float(minutes)


def _must_be_short(who: str) -> None:
    if len(who) > _WHO_BOUND:
        raise BadOrder(400, f'"who" may have at most {_WHO_BOUND} characters')


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


def _stage(document: Mapping[str, Any]) -> str:
    """In which stage of the release a person spent the minutes. Raises BadOrder (400)."""
    stage = document.get("stage") or ""
    if not isinstance(stage, str) or len(stage) > LONGEST_STAGE or (stage and "minutes" not in document):
        raise BadOrder(400, f'"stage" is a word of at most {LONGEST_STAGE} characters, beside "minutes"')
    return stage.strip().lower()
