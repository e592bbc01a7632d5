"""The overview's table, what its updates leave alone, and what the charts show: the page's own templates
and scripts in a real browser, without a server."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

import console
import pages
from console.rendering import Templates
from control.operator.operator import Happenings
from control.operator.status import NOT_SEEN
from pages.status.course import charts_view, marks
from pages.status.overview import CanaryLine, LastChange, line, table, wanted
from pages.status.standing import standing
from pages.status.verdict_so_far import VerdictSoFar, verdict_so_far
from records.store.releases import SentPage
from tests.console.chromium import chromium
from tests.console.test_no_cut_tables_in_browser import CUT
from tests.console.test_standing import arm, rule
from tests.console.test_where_on_page import NOW, document, shown, values_of
from tests.verdict.planned import look_line, metric_line, planned_report
from verdict.decision.document import to_json

ADMIN = "http://canary.test"
STATIC = {each.name: each for each in (Path(console.__file__).parent / "static").rglob("*.*")}
STATIC["reader.js"] = Path(pages.__file__).parent / "templates" / "reader.js"
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


def overview(*canaries: CanaryLine, **asked: str) -> str:
    values = values_of() | {
        "table": table(canaries, wanted(asked)),
        "unreported": [],
        "standing_canaries": [],
    }
    return Templates().text("overview.html", values)


def of(canary: dict[str, Any], verdict: str = "", saved: float | None = None, **changed: Any) -> CanaryLine:
    """The canary's line, with a report of this verdict."""
    shown = canary | changed
    found = report(verdict, saved) if verdict else None
    stands = standing(shown, found.tone if found is not None else "calm")
    return line(shown, stands, found, LastChange(at=NOW - 3600.0, action="ramp", who="ann"), NOW)


def report(verdict: str, saved: float | None) -> VerdictSoFar:
    rows = [metric_line(look_line(9, -0.03, 0.04), metric=each) for each in ("task_completed", "latency_p95")]
    document = to_json(planned_report(*rows, day=9), lambda of_whom: ("latency is open",))
    if saved is not None:
        monthly = {"low": saved - 50.0, "estimate": saved, "high": saved + 50.0}
        document["details"]["savings"] = {"monthly": monthly}
    return verdict_so_far(document | {"verdict": verdict})


def row(page: Page, name: str) -> Any:
    return page.locator(f"#line-{name} .entry")


def card(page: Page, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


NAMES = [
    "support-gpt-5",
    "billing-mini",
    "search-rerank",
    "translate-eu",
    "refund-agent",
    "onboarding-chat",
    "summaries-nightly",
    "code-review",
    "sql-helper",
    "voice-triage",
    "hr-answers",
    "legal-drafts",
    "sales-emails",
    "faq-bot",
    "tickets-routing",
    "catalogue-tags",
    "image-captions",
    "moderation",
    "risk-notes",
    "invoices-ocr",
]


def twenty() -> list[CanaryLine]:
    owners, verdicts = ("payments", "search", "team-platform@example.com", None), ("", "extend", "", "ship")
    lines = [
        of(
            healthy(name) | {"not_seen": NOT_SEEN if number % 2 else None},
            verdicts[number % 4],
            1240.0 * number + 90,
            owner=owners[number % 3],
        )
        for number, name in enumerate(NAMES)
    ]
    lines[1], lines[8] = of(troubled(NAMES[1])), of(troubled(NAMES[8]), "extend", owner=owners[2])
    lines[3] = of(healthy(NAMES[3]), "dont_ship", -310.0, owner="search")
    lines[5] = of(healthy(NAMES[5]), "extend", 90.0, owner=owners[2], state="paused")
    lines[10] = of(healthy(NAMES[10]), "dont_ship", owner="search", state="rolled_back", reason="errors")
    asked = of(healthy(NAMES[7]), "ship", 1240.0, owner=owners[1], promote_asked={"who": "ann"})
    lines[7] = replace(asked, changed=LastChange(at=NOW - 2400.0, action="promote_asked", who="ann"))
    return lines


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.more)])
def test_twenty_canaries_fit_on_a_screen_and_nothing_is_cut(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 1280, "height": 900})
    site, first = Site(page), NAMES[1]
    site.paths["/"] = overview(*twenty())
    site.paths[f"/?open={first}"] = overview(*twenty(), open=first)
    page.goto("/")
    expect(page.locator(".entry")).to_have_count(20)
    assert page.locator(".dense").bounding_box()["y"] + page.locator(".dense").bounding_box()["height"] <= 900
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CUT) == [False, []]
        assert Axe().run(page).response["violations"] == []
        page.locator(".unfold").first.click()
        expect(card(page, first)).to_be_visible()
        assert page.evaluate(CUT) == [False, []]
        assert Axe().run(page).response["violations"] == []
        page.locator(".unfold").first.click()
        expect(card(page, first)).to_have_count(0)


def test_trouble_stands_first_and_no_green_word_stands_over_a_verdict_not_to_ship(page: Page) -> None:
    Site(page).paths["/"] = overview(*twenty())
    page.goto("/")
    names = page.locator(".entry th a:not(.unfold)").all_inner_texts()
    assert sorted(names[:4]) == sorted([NAMES[1], NAMES[3], NAMES[8], NAMES[10]])
    expect(page.locator(f"#line-{NAMES[3]}")).to_have_class("bad")
    expect(row(page, NAMES[3]).locator(".word.bad")).to_have_text(re.compile("running"))
    expect(row(page, NAMES[3])).to_contain_text("Don't ship")
    assert of(healthy("a"), "ship").standing.tone == "good"
    assert of(healthy("a"), "ship_with_caveats").standing.tone == "warn"
    assert of(troubled("a"), "ship").standing.tone == "bad"
    assert of(healthy("a", 6), "dont_ship", state="waiting").standing.tone == "calm"


def astray(kind: str) -> dict[str, Any]:
    return {"kind": kind, "canary": "a", "requests": 9, "of": 9, "sentence": "none", "entry": "", "said": ""}


def test_what_waits_for_a_person_is_named_and_needs_you() -> None:
    late = planned_report(metric_line(look_line(13, -0.03, 0.04)), day=13)
    unlabelled = to_json(planned_report(metric_line(look_line(5, -0.03, 0.04)), day=5), lambda of_whom: ())
    unlabelled["details"]["unlabelled"] = [unlabelled["metrics"][0]["metric"]]
    undecided, early = (
        verdict_so_far(each)
        for each in (
            to_json(late, lambda of_whom: ()) | {"verdict": "extend"},
            unlabelled | {"verdict": "extend"},
        )
    )
    few = [
        to_json(
            planned_report(metric_line(look_line(day, None, None), state="NODATA"), day=day),
            lambda of_whom: (),
        )
        for day in (6, 7)
    ]
    for each in few:
        each["metrics"][0] |= {"units": 5, "units_needed": 95}
    soon, never = (verdict_so_far(each | {"verdict": "extend"}) for each in few)
    waiting = healthy("a") | {"state": "waiting"}
    told = [
        (healthy("a"), soon, ""),
        (healthy("a"), never, "Task completed: too few users"),
        (healthy("a"), None, ""),
        (waiting | {"preflight": None}, None, "start it"),
        (waiting | {"preflight": {"state": "asking"}}, None, ""),
        (waiting | {"preflight": {"state": "failed"}}, None, "refused by its provider"),
        (healthy("a") | {"promote_asked": {"who": "ann"}}, None, "promotion asked"),
        (healthy("a") | {"traffic": [astray("no_unit")]}, undecided, "requests name no user"),
        (healthy("a") | {"traffic": [astray("caller_not_found")]}, None, "requests refused"),
        (healthy("a") | {"traffic": [astray("unmatched")]}, None, "no request reaches it"),
        (healthy("a"), early, "Task completed: ratings missing"),
        (healthy("a"), undecided, "the plan ends undecided"),
        (healthy("a") | {"state": "rolled_back"}, undecided, "decide or resume"),
        (healthy("a") | {"state": "rolled_back", "decision": {"decision": "dont_ship"}}, undecided, ""),
        (healthy("a") | {"state": "paused"}, early, "resume it or roll it back"),
    ]
    for canary, verdict, wants in told:
        found = line(canary, standing(canary), verdict, None, NOW)
        assert found.wants == wants
        needs = table([found], wanted({"show": "trouble"})).lines
        assert bool(needs) == (wants != "")


def test_the_lines_are_sorted_and_filtered_by_links_without_scripts(browser: Browser) -> None:
    context = browser.new_context(base_url=ADMIN, java_script_enabled=False)
    page = context.new_page()
    site, lines = Site(page), twenty()
    site.paths["/"] = overview(*lines)
    site.paths["/?sort=saving"] = overview(*lines, sort="saving")
    site.paths["/?sort=-saving"] = overview(*lines, sort="-saving")
    site.paths["/?show=trouble"] = overview(*lines, show="trouble")
    site.paths[f"/?show=trouble&open={NAMES[1]}"] = overview(*lines, show="trouble", open=NAMES[1])
    page.goto("/")
    page.get_by_role("link", name="Saves a month").first.click()
    assert page.locator(".entry").first.inner_text().startswith(NAMES[19])
    expect(page.locator("th.saving")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Saves a month").first.click()
    expect(page.locator("th.saving")).to_have_attribute("aria-sort", "descending")
    page.goto("/")
    page.get_by_role("link", name="Needs you 9").click()
    expect(page.locator(".entry")).to_have_count(9)
    page.locator(".unfold").first.click()
    expect(card(page, NAMES[1])).to_be_visible()
    expect(page.locator(".more")).to_have_count(1)
    context.close()


def test_what_is_asked_for_is_kept_by_updates_and_in_the_address(page: Page) -> None:
    site, lines = Site(page), twenty()
    site.paths["/"] = overview(*lines)
    site.paths["/?show=trouble&owner=search"] = overview(*lines, show="trouble", owner="search")
    site.paths["/?show=trouble"] = overview(*lines, show="trouble")
    page.goto("/")
    page.get_by_role("link", name="Needs you 9").click()
    expect(page.locator(".entry")).to_have_count(9)
    page.get_by_role("link", name="search", exact=True).click()
    expect(page.locator(".entry")).to_have_count(4)
    expect(page.get_by_role("link", name="Needs you 4")).to_be_visible()
    assert page.url.endswith("/?show=trouble&owner=search")
    with page.expect_response("**/?show=trouble&owner=search"):
        page.evaluate("document.querySelector('#all').dispatchEvent(new Event('refresh'))")
    expect(page.locator(".entry")).to_have_count(4)


def test_an_update_closes_no_card_that_a_person_opened(page: Page) -> None:
    site, two = Site(page), [of(healthy(name)) for name in ("search", "support")]
    site.paths["/"], site.paths["/?open=search"] = overview(*two), overview(*two, open="search")
    page.goto("/")
    unfold = page.locator("#unfold-search")
    expect(unfold).to_have_accessible_name("Today’s card of search")
    expect(card(page, "search")).to_have_count(0)
    unfold.focus()
    page.keyboard.press("Enter")
    expect(card(page, "search").locator(".sentence")).to_be_visible()
    expect(unfold).to_be_focused()
    site.paths["/?open=search"] = overview(of(healthy("search", 25)), of(troubled("support")), open="search")
    with page.expect_response("**/?open=search"):
        page.evaluate("document.querySelector('#all').dispatchEvent(new Event('refresh'))")
    expect(card(page, "search").locator(".sentence")).to_contain_text(re.compile(r"failed 5\.0.%"))
    expect(card(page, "search")).to_be_visible()
    expect(card(page, "support")).to_have_count(0)
    expect(row(page, "support").locator(".word.bad").first).to_be_visible()


def test_times_are_the_reader_s_own_and_utc_on_hover(browser: Browser) -> None:
    context = browser.new_context(base_url=ADMIN, timezone_id="Asia/Tokyo", locale="en-GB")
    page = context.new_page()
    entry = {"time": "2026-11-24 23:05:00", "canary": "a", "action": "ramp", "who": "ann", "reason": ""}
    entry |= {"against": None, "held_back_until": None, "share_before": 0.1, "share_after": 0.2}
    Site(page).paths["/audit"] = Templates().text("audit.html", values_of() | {"audit": [entry]})
    page.goto("/audit")
    expect(page.locator("time")).to_have_text("25 Nov 2026, 08:05")
    expect(page.locator("time")).to_have_attribute("title", "2026-11-24 23:05:00 UTC")
    context.close()


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
    since = f"/canaries/support-nov/course?span=24h&since={START + 180 - 5 * 60}&marks={START}"
    told = {"at": START + 200, "kind": "share", "words": "Ramp by ann"}
    later = course(START + 180) | {"marks": [told]}
    site.paths[since] = json.dumps(later)
    page.clock.run_for(31_000)
    page.wait_for_function(f"charts[0].data[0].at(-1) === {START + 180 + 180}")
    assert page.evaluate("charts[0].data[0]") == [START + 60 * n for n in (3, 4, 5, 6)]
    expect(page.get_by_role("list", name="Marks in the charts")).to_have_text(re.compile("Ramp by ann"))


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
