"""What folds on the overview, what its updates leave alone, and which time the charts show: the page's own
templates and scripts in a real browser, without a server."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

import console
from console.rendering import Templates
from control.operator.operator import Happenings
from pages.status.course import charts_view, marks
from records.store.releases import SentPage
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


START = 1_790_000_000
MARKS = Happenings(pages=[SentPage(key="k", at=START + 90.0, canary="c", event="page", title="Answers fail")])


def course(start: int = START, **arm: Any) -> dict[str, Any]:
    one = {"requests": [3, 0, 9, 4], "errors": [0, 0, 9, 1], "faults": [0, 0, 3, 0], "users": [2, 0, 5, 1]}
    one |= {"cost_usd": [0.01, None, 0.02, 0.01], "p95_s": [0.4, None, 0.2, 0.3], **arm}
    return {
        "span": "24h",
        "slice_s": 60,
        "keeps": 4,
        "start": start,
        "arms": {"baseline": one, "candidate": one},
    }


def charted(page: Page) -> Site:
    site, view = Site(page), charts_view(course(), MARKS)
    values = values_of() | shown(document(orders=[], preflight=None, **CALM)) | {"charts": view, "texts": []}
    path = "/canaries/support-nov"
    site.paths[path] = site.paths[f"{path}?span=24h"] = Templates().text(
        "canary.html", values | {"whole": True}
    )
    site.paths[f"{path}/figures"] = Templates().text("figures.html", values | {"whole": False})
    newest = {"marks": marks(MARKS), **course()}
    site.paths[f"{path}/course?span=24h"] = msgspec.json.encode(newest).decode()
    return site


def test_charts_draw_both_arms_with_marks_and_read_their_values_under_the_pointer(page: Page) -> None:
    page.add_init_script(KEEP_CHARTS)
    charted(page)
    page.goto("/canaries/support-nov")
    charts = page.get_by_role("region", name="Charts")
    expect(charts.locator("canvas")).to_have_count(6)
    drawn = page.evaluate("charts.map((each) => each.data)")
    assert drawn[0][0] == [START, START + 60, START + 120, START + 180]
    assert [3, 0, 9, None] in [data[1] for data in drawn], "the newest minute is not over"
    assert [0, None, 100, 25] in [data[2] for data in drawn]
    over = charts.locator(".u-over").first
    over.hover(position={"x": over.evaluate("each => each.clientWidth") / 2, "y": 20})
    expect(charts.locator("#reading")).to_contain_text("UTC) · Answers fail")
    expect(charts.locator("figcaption .value").nth(0)).to_have_text(re.compile(r"(3|9|0) a minute · "))
    expect(charts.locator("figcaption .value").nth(1)).to_have_text(re.compile(r"(–|100 %) · "))
    expect(charts.get_by_role("list", name="Marks in the charts")).to_contain_text("Answers fail")


def test_what_is_newer_takes_the_place_of_what_is_older_in_the_charts(page: Page) -> None:
    page.clock.install()
    page.add_init_script(KEEP_CHARTS)
    site = charted(page)
    page.goto("/canaries/support-nov")
    expect(page.locator("canvas")).to_have_count(6)
    since = f"/canaries/support-nov/course?span=24h&since={START + 180 - 5 * 60}"
    later = course(START + 180)
    site.paths[since] = json.dumps(later)
    page.clock.run_for(31_000)
    page.wait_for_function(f"charts[0].data[0].at(-1) === {START + 180 + 180}")
    assert page.evaluate("charts[0].data[0]") == [START + 60 * n for n in (3, 4, 5, 6)]


def test_without_scripts_links_choose_the_time_and_a_table_has_the_figures(browser: Browser) -> None:
    context = browser.new_context(
        base_url=ADMIN, java_script_enabled=False, viewport={"width": 390, "height": 844}
    )
    page = context.new_page()
    charted(page)
    page.goto("/canaries/support-nov")
    page.get_by_role("link", name="24 h").click()
    expect(page).to_have_url(f"{ADMIN}/canaries/support-nov?span=24h#charts")
    expect(page.get_by_role("link", name="24 h")).to_have_attribute("aria-current", "page")
    page.get_by_text("As a table").click()
    rows = page.get_by_role("region", name="The charts as a table").get_by_role("row")
    expect(rows.filter(has_text="candidate").nth(1)).to_contain_text("100.0 %")
    context.close()


@pytest.mark.parametrize("template", ["overview.html", "figures.html", "why.html"])
def test_the_models_stand_beside_the_name(template: str) -> None:
    assert "gpt-4o → gpt-5" in Templates().text(template, values_of())
