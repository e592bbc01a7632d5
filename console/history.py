"""The pages of what is recorded: all evaluations, each evaluation's report as it was then, the releases, and
what happened in a session."""

import asyncio
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from common.text import visible
from console.access.login import Login
from console.rendering import (
    headers,
    headers_of_whole,
    release_document_in,
    release_in,
    releases_in_short,
    session_in,
)
from control.jobs.drift import histories
from control.operator.operator import Operator
from control.operator.orders import BadOrder
from pages.words.drift import change_words, name_words, probes_words
from pages.words.status import day
from records.store import Store
from records.store.benchmarks import Benchmarks
from records.store.reports import Evaluations

if TYPE_CHECKING:
    from records.store.session_exchanges import StoredSession

_ROLLBACKS = 200


class HistoryPages:
    """The pages of the archive, of the releases, of models and of sessions."""

    def __init__(self, operator: Operator, login: Login) -> None:
        self._operator = operator
        self._login = login

    def routes(self) -> list[Route]:
        """Every page."""
        return [
            Route("/sessions", self.sessions),
            Route("/sessions/{named:path}", self.session),
            Route("/releases", self.releases),
            Route("/releases/{id}", self.release),
            Route("/canaries/{name}/release", self.of_canary),
            Route("/drift", self.drift),
            Route("/archive", self.trends),
            Route("/archive/{key}", self.evaluation),
        ]

    async def trends(self, request: Request) -> Response:
        """The latest evaluation of every run, the newest first, and their summary."""
        summary = await self._operator.ask(_summed_up)
        names = {*self._operator.settings().canaries, *self._operator.past()}
        return self._login.answer(request, "archive.html", **summary, names=names)

    async def evaluation(self, request: Request) -> Response:
        """One evaluation's report, as it was then."""
        text = await self._operator.ask(partial(_whole, request.path_params["key"]))
        return HTMLResponse(text, headers=headers_of_whole())

    async def drift(self, request: Request) -> Response:
        """What models call themselves, and whether they answer as they did."""
        found = await self._operator.ask(histories)
        words: dict[str, Any] = {"day": day, "change_words": change_words, "probes_words": probes_words}
        words["name_words"] = name_words
        return self._login.answer(request, "drift.html", models=found, **words)

    async def sessions(self, request: Request) -> Response:
        """GET ?id=…: to the page of a session; without it, what asks for one."""
        named = request.query_params.get("id", "").strip()
        if named:
            return RedirectResponse(f"/sessions/{quote(named, safe='')}", status_code=303)
        return self._login.answer(request, "sessions.html")

    async def session(self, request: Request) -> Response:
        """What happened in a session, at the address that has its hash."""
        named = request.path_params["named"]
        found = await self._operator.session(named)
        if found.session not in ("", named):
            return RedirectResponse(f"/sessions/{found.session}", status_code=303)
        captured = await self._to_report(request, found)
        rolled_back = await self._rolled_back(found)
        text = await asyncio.to_thread(session_in, "html", found, captured, rolled_back)
        return HTMLResponse(text, headers=headers_of_whole())

    async def _rolled_back(self, found: "StoredSession") -> list[tuple[str, int]]:
        """The session's runs that were rolled back; none of a canary that the config has just lost."""
        runs: set[tuple[str, int]] = set()
        for name in dict.fromkeys(canary for canary, _ in found.runs):
            with suppress(BadOrder):
                runs |= {(name, each.why.run) for each in await self._operator.rollbacks(name, _ROLLBACKS)}
        return [each for each in found.runs if each in runs]

    async def _to_report(self, request: Request, found: "StoredSession") -> Collection[str]:
        """The exchanges that may become known issues: failed or faulty ones, and one that stands alone."""
        alone = len(found.exchanges) == 1
        failed = [each.exchange_id for each in found.exchanges if alone or each.error_type or each.faults]
        if not failed or not self._login.person(request).reads_texts:
            return ()
        return await self._operator.captured(failed)

    async def releases(self, request: Request) -> Response:
        """The releases, newest first."""
        found = await self._operator.ask(releases_in_short)
        return self._login.answer(request, "releases.html", releases=found)

    async def of_canary(self, request: Request) -> Response:
        """To the release that the canary tries."""
        found = await self._operator.release_of(request.path_params["name"])
        return RedirectResponse(f"/releases/{found}", status_code=303)

    async def release(self, request: Request) -> Response:
        """One release, with the present report of what is under way; ?for=vendor&form=html|markdown|json: its
        document for one reader."""
        named, query = request.path_params["id"], request.query_params
        reads_texts = self._login.person(request).reads_texts
        form = query.get("form", "html") if "for" in query else "html"
        text = await release_document(self._operator, named, form, query, reads_texts=reads_texts)
        if form == "html":
            return HTMLResponse(text, headers=headers_of_whole())
        ending = "md" if form == "markdown" else "json"
        about = re.sub(r"[^A-Za-z0-9._-]+", "-", named)
        name = f"attachment; filename=release-{about}-{query['for']}.{ending}"
        return PlainTextResponse(visible(text), headers={**headers(), "content-disposition": name})


async def release_document(
    operator: Operator, which: str, form: str, query: Mapping[str, str], *, reads_texts: bool
) -> str:
    """The release, or its document for the reader that the query names. Raises BadOrder."""
    from verdict.archive.release_facts import READERS

    settings = operator.settings()
    if "for" not in query:
        return await operator.ask(lambda store: release_in(form, which, store, settings, texts=reads_texts))
    asked, texts = query["for"], "texts" in query
    reader = READERS[READERS.index(asked)] if asked in READERS else None
    if reader is None or form not in ("html", "markdown", "json"):
        raise BadOrder(400, f"for must be {', '.join(READERS)}, and form json, markdown or html")
    if texts and not reads_texts:
        raise BadOrder(403, "captured texts are for operators")
    return await operator.ask(
        lambda store: release_document_in(form, which, store, settings, reader, texts=texts)
    )


def _summed_up(store: Store) -> dict[str, Any]:
    from pages.words import archive as trend_words
    from verdict.archive.evaluations import from_document
    from verdict.archive.trends import trends

    found = map(from_document, Evaluations(store).all())
    return {"found": trends(found, Benchmarks(store).refused()), "trend_words": trend_words}


def _whole(key: str, store: Store) -> str:
    from pages.reports.report import rendered
    from verdict.archive.evaluations import from_document

    found = next((each for each in Evaluations(store).all() if each["key"] == key), None)
    if found is None:
        raise BadOrder(404, f"There is no evaluation {key!r}.")
    return rendered(from_document(found).report, "html")
