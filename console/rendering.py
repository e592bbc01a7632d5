"""Renders templates and reports into responses, and keeps what is dear to make for a minute or more."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from common.text import visible_page
from control.operator.operator import Operator
from control.operator.orders import refusing
from control.settings import ControlSettings
from pages.status.rules import rule_name, rule_tone, rule_word
from pages.words import judge, status
from records.store import Store

if TYPE_CHECKING:
    from records.store.session_exchanges import StoredSession
    from verdict.archive.release_facts import Reader
    from verdict.archive.releases import Dossier
    from verdict.decision.document import Report
    from verdict.decision.reports import SideBySide
    from verdict.planner.prospect import Prospect
    from verdict.terms.judged_canary import JudgedCanary

_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def report_in(form: str, found: "Report") -> str:
    """The report as "json", "markdown" or "html". For a thread: the statistics take two seconds to import."""
    from pages.reports.report import rendered

    return rendered(found, form)


def comparison_in(form: str, found: "SideBySide") -> str:
    """Candidates beside each other as "json", "markdown" or "html". For a thread, like `report_in`."""
    from pages.reports.compare import rendered

    return rendered(found, form)


def release_in(form: str, which: str, store: Store, settings: ControlSettings, *, texts: bool) -> str:
    """One release, by its id or its candidate, as "json", "markdown" or "html", which begins with its
    timeline and links to its documents; with `texts` its wrong answers too. For a thread, as `report_in`."""
    from pages.reports.release import rendered
    from pages.reports.release_documents import page
    from pages.writers import written
    from verdict.archive.release_facts import READERS, timeline_of

    found = _release(which, store, settings, texts=texts)
    if form != "html":
        return rendered(found, form)
    timeline = timeline_of(store, found)
    links = [(f"For {each}", f"/releases/{found.release.id}?for={each}") for each in READERS]
    names = dict.fromkeys(run.canary for run in found.newest)
    links += [(name, f"/canaries/{quote(name)}") for name in names]
    links += [("All releases", "/releases"), ("All canaries", "/")]
    return written(page(found, timeline, links), form)


def release_document_in(
    form: str, which: str, store: Store, settings: ControlSettings, reader: "Reader", *, texts: bool
) -> str:
    """A release's document for one reader as "json", "markdown" or "html", with links to its other forms, and
    with `texts` those of some failed requests. For a thread, like `report_in`."""
    from pages.reports.release_documents import rendered
    from verdict.archive.release_facts import facts_of

    about = _release(which, store, settings, texts=texts)
    found = facts_of(settings.reports, store, about, reader, now=time.time(), texts=texts)
    here = f"/releases/{found.dossier.release.id}"
    forms = [(name, f"{here}?for={reader}&form={each}") for name, each in _OTHER_FORMS]
    return rendered(found, reader, form, [("The release", here), *forms])


def _release(which: str, store: Store, settings: ControlSettings, *, texts: bool) -> "Dossier":
    from verdict.archive.releases import NoSuchRelease, release_of, with_texts

    now = time.time()
    with refusing(404, NoSuchRelease):
        found = release_of(settings.reports, store, which, now=now)
        return with_texts(store, found, now=now) if texts else found


_OTHER_FORMS = (("As Markdown", "markdown"), ("As JSON", "json"))


def session_in(
    form: str,
    found: "StoredSession",
    to_report: Collection[str] = (),
    rolled_back: Collection[tuple[str, int]] = (),
) -> str:
    """The session as "json", "markdown" or "html", with links that make the exchanges `to_report` known
    issues, and to why the runs `rolled_back` were. For a thread, like `report_in`."""
    from pages.reports.session import rendered

    names = dict.fromkeys(canary for canary, _ in found.runs)
    links = [(name, f"/canaries/{quote(name)}") for name in names]
    links += [
        (f"Why run {run} of {name} was rolled back", f"/canaries/{quote(name)}/why?run={run}")
        for name, run in rolled_back
    ]
    links += [
        (f"Make exchange {number} a known issue", f"/issues/new?exchange={quote(each.exchange_id)}")
        for number, each in enumerate(found.exchanges, 1)
        if each.exchange_id in to_report
    ]
    return rendered(found, form, [*links, ("Another session", "/sessions"), ("All canaries", "/")])


def releases_in_short(store: Store) -> list[dict[str, Any]]:
    """Every release in short, newest first, each by the last kept report of its runs. For a thread, like
    `report_in`."""
    from pages.reports.release import line
    from verdict.archive.releases import all_releases

    return [line(each) for each in all_releases(store)]


def prospect_line(judged: "JudgedCanary", found: "Prospect | None") -> str:
    """The chance to ship in one line; "" without a rubric, and why there is none for one on a judge only. For
    a thread, like `report_in`."""
    from pages.reports import plan

    return plan.prospect_line(found) if found is not None else plan.unplanned(judged)


class Templates:
    """The console's templates. Escapes every value; an undefined name is an error."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            status.FILTERS, rule_name=rule_name, rule_word=rule_word, rule_tone=rule_tone
        )
        self._environment.globals["judge_lines"] = judge

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """The rendered template."""
        return visible_page(self._environment.get_template(template).render(values))

    def answer(self, template: str, *, status_code: int = 200, **values: Any) -> Response:
        """The rendered template as a response: a page, or a part of a page."""
        return HTMLResponse(self.text(template, values), status_code=status_code, headers=headers())


def headers() -> dict[str, str]:
    """The headers of a page: it loads only the console's own files, and is never framed or cached."""
    return _headers("'self'", "'self'")


def headers_of_whole() -> dict[str, str]:
    """The headers of a self-contained document: it loads nothing, and has the writer's style and script."""
    from pages.writers import SCRIPT, STYLE

    return _headers(STYLE, SCRIPT)


def _headers(styles: str, scripts: str) -> dict[str, str]:
    return {
        "content-security-policy": _POLICY.format(styles=styles, scripts=scripts),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",  # with no-referrer a form would come with `Origin: null`
        "cache-control": "no-store",
    }


FRESH_S = 60.0
FRESH_PER_COST = 20.0
"""A report also stays fresh for this many times its own duration, so reports use at most 1/20 of a core."""
PROSPECT_FRESH_S = 600.0

T = TypeVar("T")


class RunCache(Generic[T]):
    """What is dear to make, by canary and run. Makes one at a time, and keeps it while it is fresh."""

    def __init__(
        self,
        make: Callable[[str], Awaitable[T]],
        mono: Callable[[], float],
        *,
        fresh_s: float,
        per_cost: float = 0.0,
    ) -> None:
        """Fresh is what is younger than `fresh_s`, or than `per_cost` times what it took to make."""
        self._make, self._mono = make, mono
        self._fresh_s, self._per_cost = fresh_s, per_cost
        self._made: dict[tuple[str, int], tuple[T, float]] = {}
        self._making = asyncio.Lock()

    def newest(self, canary: str, run: int) -> T | None:
        """The newest one, fresh or not; None if none was made."""
        known = self._made.get((canary, run))
        return None if known is None else known[0]

    def outdate(self, canary: str) -> None:
        """What was made of this canary is no longer fresh."""
        self._made = {
            key: (made, float("-inf") if key[0] == canary else until)
            for key, (made, until) in self._made.items()
        }

    async def of(self, canary: str, run: int) -> T:
        """A fresh one, kept or made now. Raises BadOrder like the operator."""
        async with self._making:
            began, known = self._mono(), self._made.get((canary, run))
            if known is not None and began < known[1]:
                return known[0]
            made = await self._make(canary)
            now = self._mono()
            until = now + max(self._fresh_s, self._per_cost * (now - began))
            self._made = {key: each for key, each in self._made.items() if key[0] != canary}
            self._made[canary, run] = made, until
            return made


def reports(operator: Operator, mono: Callable[[], float]) -> RunCache[Mapping[str, Any]]:
    """The documents of the canaries' reports."""

    async def make(canary: str) -> Mapping[str, Any]:
        found = await operator.report(canary)
        document: Mapping[str, Any] = json.loads(await asyncio.to_thread(report_in, "json", found))
        return document

    return RunCache(make, mono, fresh_s=FRESH_S, per_cost=FRESH_PER_COST)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProspectLines:
    """A canary's chance to ship, and what its users are too few for; "" for none."""

    chance: str
    few: str


def prospect_lines(operator: Operator, mono: Callable[[], float]) -> RunCache[ProspectLines]:
    """The canaries' chances to ship, each in a line."""

    async def make(canary: str) -> ProspectLines:
        judged, found, few = await operator.prospect(canary)
        chance = await asyncio.to_thread(prospect_line, judged, found)
        return ProspectLines(chance=chance, few="" if few is None else few.sentence)

    return RunCache(make, mono, fresh_s=PROSPECT_FRESH_S)
