"""The operator's read-only pages: overview, canary with its live figures, report, rollback, audit log."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

import pages
from alerts.rules.places import to_document
from common.numbers import set_percent
from console.access.login import Login
from console.judged import figures_in
from console.rendering import (
    RunCache,
    Templates,
    comparison_in,
    headers,
    headers_of_whole,
    prospect_lines,
    report_in,
)
from control.operator.operator import Happenings, Operator
from control.operator.orders import ORDERS, BadOrder, Order
from pages.status.course import ChartsView, charts_view, marks, span_of
from pages.status.overview import CanaryLine, LastChange, line, table, wanted
from pages.status.rules import proof_of, reach
from pages.status.standing import PastCanaryView, arm_rows, past_view, standing
from pages.status.verdict_so_far import VerdictSoFar, newer, verdict_so_far
from pages.words.arms import SideRow, heading, next_candidate, side_by_side
from pages.words.status import astray, laneless, retirements, standing_said, unmatched
from records.facts.arm_texts import changes_between
from records.facts.standing import in_its_place
from records.store import Store
from records.store.captures import CaptureStore
from records.store.reports import DailyReport, Evaluations

LOOK_EVERY_S = 1.0
HEARTBEAT_S = 15.0
WATCHERS = 32
"""The most open streams. Further pages get 503, poll instead, and try again."""

Look = Callable[[], Mapping[str, Any]]


class FigureStream:
    """The open streams of one admin process, at most WATCHERS."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        """Every stream ends once `closing` is True."""
        self._closing = closing
        self.watchers = 0

    def answer(self, look: Look, still_in: Callable[[], bool], headers: Mapping[str, str]) -> Response:
        """Stream the values of `look` while `still_in` is True; 503 if there are too many streams."""
        if self.watchers >= WATCHERS:
            return PlainTextResponse("too many open streams", 503, {"retry-after": "5"})
        looks = self._looks(look, still_in)
        return StreamingResponse(looks, media_type="text/event-stream", headers=dict(headers))

    async def _looks(self, look: Look, still_in: Callable[[], bool]) -> AsyncIterator[bytes]:
        self.watchers += 1
        sent, silent_s = b"", 0.0
        try:
            while still_in() and not self._closing():
                seen = msgspec.json.encode(look())
                if seen != sent:
                    sent, silent_s = seen, 0.0
                    yield b"event: look\ndata: " + seen + b"\n\n"
                elif silent_s >= HEARTBEAT_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(LOOK_EVERY_S)
                silent_s += LOOK_EVERY_S
        finally:
            self.watchers -= 1


_REASON_BOUND = 500
_OVER = ("rolled_back", "promoted", "ended")
_LEADS_TO = {
    "start": "running",
    "resume": "running",
    "pause": "paused",
    "rollback": "rolled_back",
    "promote": "promoted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOrder:
    """One of ORDERS; `possible` is False if the canary's state does not allow it now, `carried_out` is True
    if that state is what it asks for."""

    order: Order
    reason: str
    possible: bool
    carried_out: bool


def asked_order(query: Mapping[str, str], canary: Mapping[str, Any]) -> AskedOrder | None:
    """The order of `?order=rollback&reason=…`; None without one of ORDERS."""
    for order in ORDERS:
        if order == query.get("order"):
            reason = query.get("reason", "")[:_REASON_BOUND]
            return AskedOrder(
                order=order,
                reason=reason,
                possible=order in canary["orders"],
                carried_out=canary["state"] == _LEADS_TO.get(order),
            )
    return None


_STATIC = Path(__file__).parent / "static"
_SHARED = Path(pages.__file__).parent / "templates" / "reader.js"
"""The script that a report in a file has, too."""
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ENTRIES = 200
_NEWEST = 8
_PAST = 20
_MADE_AT_ONCE = 3
"""So many reports the overview asks for at a time, of canaries that have none."""


class ReadOnlyPages:
    """The read-only pages."""

    def __init__(
        self,
        operator: Operator,
        login: Login,
        templates: Templates,
        made: RunCache[Mapping[str, Any]],
        closing: Callable[[], bool],
    ) -> None:
        self._operator = operator
        self._login = login
        self._templates = templates
        self._stream = FigureStream(closing)
        self._nights: Mapping[str, DailyReport] = {}
        self._reports = made
        self._prospects = prospect_lines(operator, time.monotonic)
        self._static = {
            each.name: each
            for each in (_SHARED, *sorted(_STATIC.rglob("*")))
            if each.suffix in _TYPES and each.is_file()
        }

    def routes(self) -> list[Route]:
        """Every read-only page."""
        return [
            Route("/", self.overview),
            Route("/audit", self.audit),
            Route("/canaries/{name}", self.canary),
            Route("/canaries/{name}/figures", self.figures),
            Route("/canaries/{name}/events", self.events),
            Route("/canaries/{name}/course", self.course),
            Route("/canaries/{name}/actions", self.actions),
            Route("/canaries/{name}/advice", self.advice),
            Route("/canaries/{name}/score", self.score),
            Route("/compare", self.compare),
            Route("/canaries/{name}/plan", self.plan),
            Route("/canaries/{name}/judge", self.judge),
            Route("/canaries/{name}/verdict", self.verdict),
            Route("/canaries/{name}/report", self.report),
            Route("/canaries/{name}/why", self.why),
            Route("/static/{file}", self.static),
        ]

    async def overview(self, request: Request) -> Response:
        """All canaries as a table, the worst first; what does not work; the latest changes; past ones."""
        status, standings = self._operator.status(), self._operator.settings().standing
        changes = await self._last_changes()
        judge = status["judge"] or {}
        degraded = [
            f"judge: {judge['sentence']}" if each.startswith("judge: ") and judge else each
            for each in status["degraded"]
        ]
        audit: Sequence[Mapping[str, Any]] = []
        past: list[PastCanaryView] = []
        try:
            audit = await self._operator.audit(_NEWEST)
            past = await self._past(islice(self._operator.past(), _PAST))
        except BadOrder as problem:
            degraded.append(f"the audit log cannot be read: {problem.message}")
        lines = [self._line(each, changes.get(each["name"])) for each in status["canaries"]]
        return self._login.answer(
            request,
            "overview.html",
            table=table(lines, wanted(request.query_params)),
            unreported=[each for each in lines if each.verdict is None and each.standing.watched][
                :_MADE_AT_ONCE
            ],
            now=time.time(),
            degraded=degraded,
            audit=audit,
            past=past,
            unmatched=unmatched(status["unmatched"]),
            laneless=laneless(status["unmatched"]),
            traffic=[astray(each) for each in status["traffic"]],
            retirements=retirements(status),
            standing_canaries=[(each, standing_said(each, time.time())) for each in status["standing"]],
            next_candidates={
                name: next_candidate(each.candidate({}), each.taken_over({}))
                for name, each in standings.items()
            },
            callers=self._operator.callers(),
        )

    async def canary(self, request: Request) -> Response:
        """One canary, updated live; one that has left the config, as it ended."""
        name = request.path_params["name"]
        if name not in self._operator.past():
            await self._read_reports()
            more = {"charts": await self._charts(request), "audit": await self._changes(name)}
            return self._of_one(request, "canary.html", whole=True, **more)
        (past,) = await self._past([name])
        audit = await self._operator.audit(_ENTRIES, name)
        newest = await self._operator.ask(lambda store: CaptureStore(store).newest([name], 1))
        captured_at = newest[0].about.at if newest else None
        stored = await self._operator.ask(lambda store: Evaluations(store).all(name))
        judge = figures_in(stored[-1]["report"]) if stored else None
        charts = None
        with suppress(BadOrder):  # those of older ones are not kept
            found = self._operator.course(name, "run")
            charts = charts_view(found, await self._operator.happenings(name, found["start"]), past=True)
        values: dict[str, Any] = {"past": past, "audit": audit, "captured_at": captured_at, "judge": judge}
        return self._login.answer(request, "past.html", canary={"name": name}, charts=charts, **values)

    async def figures(self, request: Request) -> Response:
        """The part of the canary's page that changes, for clients without the stream."""
        return self._of_one(request, "figures.html", whole=False)

    async def actions(self, request: Request) -> Response:
        """The orders that the canary's state allows."""
        return self._of_one(request, "actions.html", whole=False)

    async def events(self, request: Request) -> Response:
        """The changing part of the page, as server-sent events."""
        name = request.path_params["name"]
        self._canary(name)
        person = self._login.person(request)

        def look() -> Mapping[str, Any]:
            with suppress(BadOrder):  # the canary left the config meanwhile
                shown = self._canary(name)
                share = set_percent(shown["canary"]["share"])
                html = self._templates.text("figures.html", {**shown, "person": person, "whole": False})
                return {
                    "html": html,
                    "key": shown["standing"].key,
                    "announcement": f"{name} is {shown['standing'].word} at {share}",
                }
            return {
                "html": "This canary is no longer in the config. Load the page again to see how it ended.",
                "key": "gone",
                "announcement": "",
            }

        return self._stream.answer(look, lambda: self._login.still_in(request), headers())

    async def course(self, request: Request) -> Response:
        """What the charts draw, as JSON: both arms from UTC second `since` on, and the marks from second
        `marks` on; of all that is charted without these."""
        name, query = request.path_params["name"], request.query_params
        since, first = (
            float(query[each]) if query.get(each, "").isdecimal() else 0.0 for each in ("since", "marks")
        )
        found = self._operator.course(name, span_of(query.get("span")), since)
        marked = marks(await self._operator.happenings(name, first or found["start"]))
        document = msgspec.json.encode({**found, "marks": marked})
        return Response(document, media_type="application/json", headers=headers())

    async def _charts(self, request: Request) -> ChartsView:
        """What stands beside the charts; without marks while the store does not answer."""
        name, span = request.path_params["name"], span_of(request.query_params.get("span"))
        self._canary(name)
        found = self._operator.course(name, span)
        happened = Happenings()
        with suppress(BadOrder):
            happened = await self._operator.happenings(name, found["start"])
        return charts_view(found, happened)

    async def advice(self, request: Request) -> Response:
        """What the report says of a promotion: its verdict, what it saves, the critical parts."""
        canary = self._canary(request.path_params["name"])["canary"]
        made = await self._reports.of(canary["name"], canary["run"])
        return self._login.answer(request, "advice.html", canary=canary, verdict=verdict_so_far(made))

    async def score(self, request: Request) -> Response:
        """Make the report, if it is not fresh; the page's next update shows it."""
        canary = self._canary(request.path_params["name"])["canary"]
        await self._reports.of(canary["name"], canary["run"])
        return Response(status_code=204, headers=headers())

    async def plan(self, request: Request) -> Response:
        """The chance to ship in one line, for a canary that waits or has just started."""
        canary = self._canary(request.path_params["name"])["canary"]
        lines = await self._prospects.of(canary["name"], canary["run"])
        return self._login.answer(request, "plan.html", canary=canary, lines=lines)

    async def judge(self, request: Request) -> Response:
        """What a judge says of the canary's answers, and what it did today; empty without a judge."""
        canary = self._canary(request.path_params["name"])["canary"]
        day = await self._operator.judge_day(canary["name"])
        made = await self._reports.of(canary["name"], canary["run"])
        judge, status = figures_in(made), self._operator.status().get("judge")
        return self._login.answer(request, "judge.html", canary=canary, day=day, judge=judge, status=status)

    async def verdict(self, request: Request) -> Response:
        """The report's figures by metric, segment and category."""
        return await self._of_report(request, "verdict.html")

    async def report(self, request: Request) -> Response:
        """The full report, as a file to share."""
        quoting = self._login.person(request).reads_texts
        found = await self._operator.report(request.path_params["name"], quoting=quoting)
        text = await asyncio.to_thread(report_in, "html", found)
        return HTMLResponse(text, headers=headers_of_whole())

    async def compare(self, request: Request) -> Response:
        """?canary=a&canary=b: the candidates beside each other, and what the arms differ in."""
        names = request.query_params.getlist("canary")
        found = await self._operator.compare(names)
        text = await asyncio.to_thread(comparison_in, "html", found)
        return HTMLResponse(text, headers=headers_of_whole())

    async def why(self, request: Request) -> Response:
        """Why the canary was rolled back: the evidence of the given run, or of the latest rollback."""
        name, run = request.path_params["name"], request.query_params.get("run", "")
        shown = self._canary_or_past(name)
        models = (await self._past([name]))[0].models if shown["past"] else shown["standing"].models
        history = await self._operator.rollbacks(name, _ENTRIES)
        found = next((each for each in history if run in ("", str(each.why.run))), None)
        if run and found is None:  # an incident links here, but that run was not rolled back
            return RedirectResponse(f"/canaries/{name}", status_code=303)
        why = found.why if found is not None else None
        course = reach(why.path, why.limits) if why is not None else None
        limits = (why.limits["ln_mixture"], why.limits["ln_cusum"]) if why is not None else ()
        proof = proof_of(why.path[-1]._asdict(), *limits) if why is not None and why.path else ""
        runs = [each.why.run for each in history if found is None or each.why.run != found.why.run]
        said = to_document(why.provider_error) if why is not None else None
        failed = [each.exchange_id for each in why.failures] if why is not None else []
        reads = self._login.person(request).reads_texts
        return self._login.answer(
            request,
            "why.html",
            **shown,
            why=why,
            said=said,
            course=course,
            proof=proof,
            runs=runs,
            models=models,
            captured=await self._operator.captured(failed) if reads else (),
        )

    async def audit(self, request: Request) -> Response:
        """The audit log."""
        audit = await self._operator.audit(_ENTRIES)
        return self._login.answer(request, "audit.html", audit=audit)

    async def static(self, request: Request) -> Response:
        """A static file."""
        file = self._static.get(request.path_params["file"])
        if file is None:
            return Response(status_code=404)
        given = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}
        return Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers=given)

    def _of_one(self, request: Request, template: str, *, whole: bool, **more: Any) -> Response:
        """One canary. Without `whole`, leaves out the parts that live updates do not replace. A link may ask
        for an order's dialog (`console.page`)."""
        shown = self._canary(request.path_params["name"])
        shown["asked"] = asked_order(request.query_params, shown["canary"])
        return self._login.answer(request, template, **shown, whole=whole, **more)

    async def _of_report(self, request: Request, template: str) -> Response:
        shown = self._canary_or_past(request.path_params["name"])
        made = await self._reports.of(shown["canary"]["name"], shown["canary"]["run"])
        # Importing statistics takes two seconds; making the report has done that already.
        from pages.words import gains, plan, verdict
        from pages.words.figures import bound_words, title
        from pages.words.reasons import sentences
        from verdict.decision.document import from_json, without_reasons

        report = from_json(dict(made))
        if not self._login.person(request).reads_texts:
            report = without_reasons(report)
        return self._login.answer(
            request,
            template,
            **{**shown, "report": made},
            whole=report,
            reasons=sentences(report),
            prose=verdict,
            plan_lines=plan,
            known_of_answers=gains.known_of_answers,
            title=title,
            bound_words=bound_words,
        )

    def _texts(self, name: str) -> list[tuple[str, list[SideRow]]]:
        """The texts that differ between the canary's arms: a heading, and the lines side by side."""
        settings = self._operator.settings()
        wanted = settings.canary(name)
        if wanted is None:
            return []
        found = changes_between(wanted.baseline, wanted.candidate, settings.texts)
        return [(heading(each), side_by_side(each)) for each in found]

    async def _past(self, names: Iterable[str]) -> list[PastCanaryView]:
        return [past_view(each) for each in await self._operator.endings(names)]

    def _canary_or_past(self, name: str) -> dict[str, Any]:
        """The template's values for one canary; for one that has left the config, only what it was."""
        state = self._operator.past().get(name)
        if state is None:
            return {**self._canary(name), "past": False}
        canary = {"name": name, "run": state.run, "state": state.state, "reason": state.reason}
        return {"canary": canary, "past": True, "now": time.time()}

    def _canary(self, name: str) -> dict[str, Any]:
        """The template's values for one canary. Raises BadOrder (404)."""
        status = self._operator.status(only=name)
        for canary in status["canaries"]:
            if canary["name"] == name:
                return {
                    **self._shown(canary),
                    "retirements": retirements(status, name),
                    "texts": self._texts(name),
                }
        for each in status["standing"]:
            if each["name"] == name:
                raise BadOrder(404, f"{in_its_place(name, each['trials'])}.")
        raise BadOrder(404, f"There is no canary {name!r}.")

    def _shown(self, canary: Mapping[str, Any]) -> dict[str, Any]:
        verdict = self._verdict(canary)
        return {
            "canary": canary,
            "standing": standing(canary, verdict.tone if verdict is not None else "calm"),
            "verdict": verdict,
            "rows": arm_rows(canary["arms"]),
            "failures": self._operator.failures(canary["name"], _NEWEST),
            "sharing": self._operator.sharing(canary["name"]),
            "now": time.time(),
            "asked": None,
        }

    def _line(self, canary: Mapping[str, Any], changed: LastChange | None) -> CanaryLine:
        verdict = self._verdict(canary)
        stands = standing(canary, verdict.tone if verdict is not None else "calm")
        return line(canary, stands, verdict, changed, time.time())

    def _verdict(self, canary: Mapping[str, Any]) -> VerdictSoFar | None:
        """The newest report of the run: last night's, or one that was made for the page since; without
        chances once the run is over."""
        name, run = canary["name"], canary["run"]
        made, night = self._reports.newest(name, run), self._nights.get(name)
        kept = verdict_so_far(night.document) if night is not None and night.run == run else None
        found = newer(kept, verdict_so_far(made) if made is not None else None)
        if found is None or canary["state"] not in _OVER:
            return found
        return found.over(rolled_back=canary["state"] == "rolled_back")

    async def _read_reports(self) -> None:
        """Read last night's reports; while the store is down, what was read stays."""
        with suppress(BadOrder):
            self._nights = await self._operator.ask(self._operator.reports_known.newest)

    async def _last_changes(self) -> Mapping[str, LastChange]:
        """Who changed each canary last; empty while the store is down, which the page says."""
        await self._read_reports()
        with suppress(BadOrder):
            acts = {each.canary: each.act for each in await self._operator.ask(Store.newest_acts)}
            return {name: LastChange(at=act.at, action=act.action, who=act.who) for name, act in acts.items()}
        return {}

    async def _changes(self, name: str) -> Sequence[Mapping[str, Any]]:
        """The canary's newest changes; none while the store is down."""
        with suppress(BadOrder):
            return await self._operator.audit(_NEWEST, name)
        return ()
