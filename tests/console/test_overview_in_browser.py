"""What folds on the overview, what its updates leave alone, and which time the charts show: the page's own
templates and scripts in a real browser, without a server."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

import console
from console.rendering import Templates
from tests.console.chromium import chromium
from tests.console.test_standing import arm, rule
from tests.console.test_where_on_page import document, shown, values_of

ADMIN = "http://canary.test"
STATIC = {each.name: each for each in (Path(console.__file__).parent / "static").rglob("*.*")}
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CALM: dict[str, Any] = {"where": [], "where_sentence": "", "provider_error": None}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(base_url=ADMIN, viewport={"width": 1180, "height": 900})
    yield opened
    opened.close()


class Site:
    """Answers the page's requests from templates; any path that is not told is empty."""

    def __init__(self, page: Page) -> None:
        self.paths: dict[str, str] = {}
        page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(ADMIN)
        file = STATIC.get(path.removeprefix("/static/"))
        if file is not None:
            return route.fulfill(path=file, content_type=TYPES[file.suffix])
        kind = "text/event-stream" if path.endswith("/events") else "text/html; charset=utf-8"
        return route.fulfill(body=self.paths.get(path, ""), content_type=kind)


def healthy(name: str, failed: int = 6) -> dict[str, Any]:
    arms = {"baseline": arm(), "candidate": arm(counted=500, errors=failed)}
    return document(name=name, arms=arms, guardrails=[rule()], **CALM)


def troubled(name: str) -> dict[str, Any]:
    return document(name=name, guardrails=[rule(state="firing")], **CALM)


def overview(*canaries: Mapping[str, Any]) -> str:
    of_each = {"canaries": [shown(dict(each)) for each in canaries], "standing_canaries": []}
    whole = values_of() | of_each
    return Templates().text("overview.html", whole)


def card(page: Page, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


def test_healthy_canaries_fold_when_there_are_several_and_troubled_ones_do_not(page: Page) -> None:
    Site(page).paths["/"] = overview(troubled("billing"), healthy("search"), healthy("support"))
    page.goto("/")
    for name in ("search", "support"):
        expect(card(page, name).get_by_role("link", name=name)).to_be_visible()
        expect(card(page, name).locator(".sentence")).to_be_visible()
        expect(card(page, name).locator(".rules")).to_be_hidden()
    expect(card(page, "billing").locator(".rules")).to_be_visible()
    assert card(page, "billing").locator("summary").count() == 0
    summary = card(page, "search").locator("summary")
    expect(summary).to_have_accessible_name("Share, verdict and guardrails of search")
    summary.focus()
    page.keyboard.press("Enter")
    expect(card(page, "search").locator(".rules")).to_be_visible()
    assert Axe().run(page).response["violations"] == []


def test_a_single_healthy_canary_does_not_fold(page: Page) -> None:
    Site(page).paths["/"] = overview(troubled("billing"), healthy("support"))
    page.goto("/")
    expect(card(page, "support").locator(".rules")).to_be_visible()
    assert page.locator("details").count() == 0


def test_an_update_closes_nothing_that_a_person_opened_and_opens_what_is_in_trouble(page: Page) -> None:
    site = Site(page)
    site.paths["/"] = overview(*map(healthy, ("search", "support", "translate")))
    page.goto("/")
    card(page, "search").locator("summary").click()
    site.paths["/"] = overview(healthy("search", 25), healthy("support", 25), troubled("translate"))
    with page.expect_response("**/"):
        page.evaluate("document.querySelector('#all').dispatchEvent(new Event('refresh'))")
    expect(card(page, "support").locator(".sentence")).to_contain_text(re.compile(r"failed 5\.0.%"))
    expect(card(page, "search").locator(".sentence")).to_contain_text(re.compile(r"failed 5\.0.%"))
    expect(card(page, "search").locator(".rules")).to_be_visible()
    expect(card(page, "support").locator(".rules")).to_be_hidden()
    expect(card(page, "translate").locator(".rules")).to_be_visible()


KEEP_CHARTS = """
  let made;
  window.charts = [];
  Object.defineProperty(window, "uPlot", {
    set: (found) => { made = found; },
    get: () => function (...given) { const chart = new made(...given); charts.push(chart); return chart; },
  });
"""


def test_without_recent_requests_the_charts_show_the_run_and_say_so(page: Page) -> None:
    slices = {"requests": [3, 0, 9], "errors": [0, 0, 9], "p95_s": [0.4, None, 0.2]}
    start = 1_790_000_000.0
    recent = {"slice_s": 600.0, "newest_s": 600.0, "start": start, "first_at": start + 300.0}
    recent |= {"last_at": start + 1500.0, "arms": {"baseline": slices, "candidate": slices}}
    page.add_init_script(KEEP_CHARTS)
    site = Site(page)
    values = values_of() | shown(document(orders=[], preflight=None, **CALM))
    site.paths["/canaries/support-nov"] = Templates().text("canary.html", values | {"whole": True})
    part = Templates().text("figures.html", values | {"whole": False})
    site.paths["/canaries/support-nov/figures"] = part
    look = {"html": part, "key": "k", "announcement": "", "recent": recent}
    site.paths["/canaries/support-nov/events"] = f"event: look\ndata: {json.dumps(look)}\n\n"
    page.goto("/canaries/support-nov")
    charts = page.get_by_role("region", name="The whole run")
    expect(charts.get_by_role("heading")).to_have_text("The whole run")
    expect(charts).to_contain_text(
        "The charts show this run instead, from 2026-09-21 14:18 to 2026-09-21 14:38 UTC."
    )
    expect(charts.locator("canvas")).to_have_count(3)
    drawn = page.evaluate("charts.map((each) => each.data)")
    assert [start + 450.0, start + 900.0, start + 1350.0] == drawn[0][0]
    assert [0.6, 0.0, 1.8] in [data[1] for data in drawn], "a minute of what its first and last slice cover"


@pytest.mark.parametrize("template", ["overview.html", "figures.html", "why.html"])
def test_the_models_stand_beside_the_name(template: str) -> None:
    assert "gpt-4o → gpt-5" in Templates().text(template, values_of())
