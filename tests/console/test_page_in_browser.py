"""The operator's page as a person meets it: in a real browser, before a live server with traffic."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import partial
from itertools import product
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from bench.benchmark.comparison import COLUMNS
from records.captures.capture import strictest
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks
from tests.console.chromium import chromium, opened
from tests.console.pictures import PICTURES, Picture, corner_of, size_of, taken
from tests.console.showcase import QUESTION, SESSION, Visitors, showcase
from tests.console.test_no_cut_tables_in_browser import CUT
from tests.e2e.stage import Stage
from tests.effort import in_more
from tests.serving import eventually
from tests.verdict.test_releases import a_benchmark

PAGES = (
    "/",
    "/?open=billing-mini,support-nov",
    "/canaries/support-nov",
    "/canaries/billing-mini",
    "/canaries/by-hand",
    "/canaries/support-nov/verdict",
    "/canaries/support-nov/report",
    "/canaries/billing-mini/why",
    "/canaries/support-nov/pairs",
    "/canaries/support-nov/label",
    "/archive",
    "/releases",
    "/datasets",
    "/audit",
    "/issues",
    "/issues/wrong",
    "/drift",
    "/sessions",
    "/compare?canary=support-nov&canary=by-hand",
    "/sessions/agent 7%2F1",
)
NARROW = {"width": 390, "height": 844}
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Visitors]]:
    with showcase(tmp_path_factory.mktemp("page")) as up:
        yield up


@pytest.fixture(scope="module")
def stage(shown: tuple[Stage, Visitors]) -> Stage:
    return shown[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def open_page(browser: Browser, stage: Stage) -> Open:
    """Opens a page that is logged in: `open_page(viewport=…, color_scheme=…)`."""
    return partial(opened, browser, stage.server.admin, stage.server.token)


def test_a_wrong_token_is_told_and_the_right_one_begins_a_session(browser: Browser, stage: Stage) -> None:
    context = browser.new_context(base_url=stage.server.admin)
    page = context.new_page()
    page.goto("/audit")
    page.get_by_label("Admin token").fill("guessed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the admin token.")
    page.get_by_label("Admin token").fill(stage.server.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Audit log")
    (cookie,) = [each for each in context.cookies() if each["name"] == "canary_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert stage.server.token not in cookie["value"]
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Admin token")).to_be_visible()
    page.goto("/audit")
    expect(page.get_by_label("Admin token")).to_be_visible()
    context.close()


def test_a_page_whose_session_is_over_asks_for_the_token(open_page: Open) -> None:
    with open_page(at="/canaries/support-nov") as page:
        page.context.clear_cookies()
        token = page.get_by_label("Admin token")
        # The page may have asked by itself meanwhile. Unlike a script, this is within the time limit.
        page.locator("#live").or_(token).first.dispatch_event("poll")
        expect(token).to_be_visible()


def test_a_canary_is_told_in_one_sentence(open_page: Open) -> None:
    with open_page(at="/?open=billing-mini,by-hand,support-nov") as page:
        fine = page.get_by_role("region", name="support-nov")
        expect(fine.locator(".sentence")).to_contain_text(
            re.compile(
                r"^Running: 20.% of the users get the candidate\. "
                r"In this run the candidate failed \d.*% of its requests"
            )
        )
        bad = page.get_by_role("region", name="billing-mini")
        expect(bad.locator(".sentence")).to_contain_text("Rolled back. Everybody gets the baseline.")
        expect(bad).to_contain_text("Incident")
        expect(page.locator(".entry th a:not(.unfold)")).to_have_text(
            ["billing-mini", "support-nov", "by-hand"]
        )
        expect(page.get_by_role("region", name="by-hand")).to_contain_text("Not started yet")
        expect(fine).to_contain_text(re.compile(r"Step 1 of 2, 5\d.min.*left, then 40"))
        expect(page.locator("#line-billing-mini .entry")).to_contain_text("Error rate tripped")


def test_no_page_asks_anybody_else_breaks_its_own_policy_or_is_wider_than_a_telephone(
    open_page: Open, stage: Stage
) -> None:
    with open_page(viewport=NARROW) as page:
        asked: list[str] = []
        said: list[str] = []
        refused: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for path in PAGES:
            page.goto(path)
            expect(page.locator("h1").first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
        page.goto("/canaries/support-nov")
        expect(page.locator("#connection")).to_have_text("Live, updated every second.")
        assert {url.startswith(stage.server.admin) for url in asked} == {True}
        assert [url for url in refused if not url.endswith("/favicon.ico")] == []
        assert [each for each in said if "Failed to load resource" not in each] == []


@pytest.mark.parametrize("picture", [PICTURES[0], *map(in_more, PICTURES[1:])], ids=lambda each: each.name)
def test_every_picture_of_the_docs_can_be_drawn(browser: Browser, stage: Stage, picture: Picture) -> None:
    png = taken(browser, stage, picture, "dark")
    width, height = size_of(png)
    assert width == picture.width
    assert height == picture.height or picture.part
    assert max(corner_of(png)) < 60


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        *(
            pytest.param(width, scheme, marks=pytest.mark.more)
            for width, scheme in ((390, "light"), *product((1280, 1440), ("light", "dark")))
        ),
    ],
)
def test_axe_finds_nothing_on_any_page_and_no_cell_is_cut(open_page: Open, width: int, scheme: str) -> None:
    found = {}
    look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    with open_page(at="", **look) as page:
        for path in [*PAGES, *linked(page)]:
            page.goto(path)
            if path == "/canaries/support-nov":
                page.get_by_role("button", name="Set the share").click()
            violations = Axe().run(page).response["violations"]
            found[path] = [
                (each["id"], each["impact"], node["html"][:200])
                for each in violations
                for node in each["nodes"]
            ]
            found[path] += [each for each in page.evaluate(CUT) if each]
    assert {path: each for path, each in found.items() if each} == {}
    assert len(found) > len(PAGES) + 3


def _first(page: Page, path: str) -> str | None:
    """The first address below this one that the page links, once there is one."""
    page.goto(path)
    links = page.locator(f"main a[href^='{path}/']")
    return links.first.get_attribute("href") if links.count() else None


def linked(page: Page) -> list[str]:
    """The addresses of a release, its documents, and an evaluation of the archive, whose names are new."""
    found = [eventually(lambda: _first(page, "/releases")), eventually(lambda: _first(page, "/archive"))]
    page.goto(found[0])
    return [*found, *(f"{found[0]}?for={reader}" for reader in ("vendor", "finance", "team"))]


def test_a_sheet_of_paper_has_no_buttons(open_page: Open) -> None:
    with open_page(at="/canaries/support-nov") as page:
        page.emulate_media(media="print")
        expect(page.locator("header")).to_be_hidden()
        expect(page.locator("#actions button").first).to_be_hidden()


def test_the_figures_of_both_arms_follow_the_traffic(open_page: Open, shown: tuple[Stage, Visitors]) -> None:
    with open_page(at="/canaries/support-nov") as page:
        expect(page.locator("#connection")).to_have_text("Live, updated every second.")
        expect(page.locator(".chart canvas")).to_have_count(6)
        before = requests_on(page)
        shown[1].ask("gpt-4o", 1)
        eventually(lambda: requests_on(page) > before)
        for row in (
            "Errors",
            "p50 latency, last 10 min",
            "p95 latency, last 10 min",
            "First token p95, last 10 min",
            "Tokens a second, last 10 min",
            "Cost per request",
            "Satisfaction",
        ):
            expect(page.get_by_role("row", name=row)).to_contain_text(re.compile(r"\d"))


def requests_on(page: Page) -> int:
    """The requests of both arms, as the page tells them."""
    cells = page.get_by_role("row", name="Requests").get_by_role("cell").all_inner_texts()
    return sum(int(cell.split("\n")[0].replace(",", "")) for cell in cells if cell)


def test_without_a_stream_the_page_asks_for_the_figures(
    open_page: Open, shown: tuple[Stage, Visitors]
) -> None:
    with open_page() as page:
        page.route("**/events", lambda route: route.abort())
        page.clock.install()
        page.goto("/canaries/support-nov")
        expect(page.locator("#connection")).to_contain_text("Not live")
        before = requests_on(page)
        shown[1].ask("gpt-4o", 2)
        eventually(lambda: page.clock.fast_forward(5000) or requests_on(page) > before)


def test_a_canary_is_paused_and_resumed_by_keyboard_with_a_reason(open_page: Open, stage: Stage) -> None:
    with open_page(at="/canaries/support-nov") as page:
        expect(page.locator("#connection")).to_have_text("Live, updated every second.")
        page.get_by_role("button", name="Pause…").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Pause: support-nov?")
        expect(dialog.get_by_label("Reason, for the audit log")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.type("anna")
        page.keyboard.press("Enter")  # no reason yet: the browser asks for it
        assert stage.status("support-nov")["state"] == "running"
        dialog.get_by_label("Reason, for the audit log").focus()
        page.keyboard.type("a holiday")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text(re.compile("Paused, share 20.%. Confirmed by 2 of 2 workers."))
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.locator("#announcer")).to_have_text(re.compile("support-nov is paused at 20"))
        expect(page.get_by_role("button", name="Resume…")).to_be_focused()
        page.get_by_role("button", name="Roll back…").click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Roll back…")).to_be_focused()
        page.get_by_role("button", name="Resume…").click()
        again = page.get_by_role("dialog", name="Resume: support-nov?")
        expect(again.get_by_label("Your name")).to_have_value("anna")
        again.get_by_label("Reason, for the audit log").fill("back")
        again.get_by_role("button", name="Resume").click()
        expect(again).to_contain_text("Running, share 20")
        page.goto("/audit")
        expect(page.get_by_role("row", name="a holiday")).to_contain_text("anna")


def test_the_buttons_made_anew_leave_the_keyboard_where_it_was_and_an_open_order_alone(
    open_page: Open,
) -> None:
    def make_anew(page: Page) -> None:
        with page.expect_response("**/actions"):
            page.evaluate("htmx.trigger('#actions', 'changed')")

    with open_page(at="/canaries/support-nov") as page:
        expect(page.locator("#connection")).to_have_text("Live, updated every second.")
        button = page.get_by_role("button", name="Roll back…")
        button.focus()
        for _ in range(2):
            make_anew(page)
            expect(button).to_be_focused()
        button.click()
        why = page.get_by_role("dialog", name="Roll back: support-nov?").get_by_label(
            "Reason, for the audit log"
        )
        why.fill("half a sen")
        make_anew(page)
        expect(why).to_have_value("half a sen")


def test_an_order_given_to_a_state_that_is_past_is_told_plainly(open_page: Open, stage: Stage) -> None:
    with open_page() as page:
        page.route("**/events", lambda route: route.abort())
        page.goto("/canaries/support-nov")
        page.get_by_role("button", name="Promote…").click()
        stage.api("POST", "/api/canaries/support-nov/pause", {"who": "ben", "reason": "faster"})
        dialog = page.get_by_role("dialog", name="Promote: support-nov?")
        dialog.get_by_label("Reason, for the audit log").fill("it won")
        dialog.get_by_label("Your name").fill("anna")
        dialog.get_by_role("button", name="Promote").click()
        expect(dialog).to_contain_text(re.compile("Not done: support-nov has changed since .* Paused: 20"))
        assert stage.status("support-nov")["state"] == "paused"
        stage.api("POST", "/api/canaries/support-nov/resume", {"who": "ben", "reason": "so that it runs"})


def test_why_it_was_rolled_back_stands_there_as_it_stood_then(open_page: Open) -> None:
    with open_page(at="/canaries/billing-mini") as page:
        page.get_by_role("link", name="Why it was rolled back").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Why it was rolled back")
        main = page.get_by_role("main")
        expect(main).to_contain_text(re.compile(r"20.% → 0.%"))
        expect(main).to_contain_text(re.compile("error rate", re.IGNORECASE))
        then = page.get_by_role("region", name="The guardrails then")
        expect(then.get_by_role("row", name="Error rate").filter(has_text="tripped").first).to_be_visible()
        failures = page.get_by_role("region", name="Failed and faulty exchanges").get_by_role("table")
        assert failures.get_by_role("row").count() >= 4
        failures.get_by_role("link").first.click()
        expect(page.locator("h1")).to_contain_text("1 failed")
        expect(page.locator("main")).to_contain_text("The caller got ")
        page.get_by_role("link", name="Why run 1 of billing-mini was rolled back").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Why it was rolled back")


def test_captured_pairs_stand_side_by_side_and_their_texts_are_texts(open_page: Open) -> None:
    def pair(page: Page) -> Any:
        page.goto("/canaries/support-nov/pairs")
        return page.get_by_role("article").first.is_visible()

    with open_page() as page:
        eventually(lambda: pair(page))
        first = page.get_by_role("article").first
        expect(first.locator(".message").first).to_have_text(QUESTION)
        assert page.locator(".message b").count() == 0
        expect(first.get_by_role("heading")).to_have_count(2)
        page.goto("/canaries/billing-mini/pairs")
        expect(page.get_by_role("alert")).to_contain_text("captures no texts")


def test_a_wrong_answer_becomes_a_known_issue_by_one_link_and_a_name(open_page: Open) -> None:
    def answers(page: Page) -> Any:
        page.goto("/canaries/support-nov/pairs")
        return page.get_by_role("link", name="Make it a known issue").all()

    with open_page() as page:
        eventually(lambda: answers(page))
        real, address, *_ = [each.get_attribute("href") for each in answers(page)]
        page.goto(f"/sessions/{str(real).partition('=')[2]}")
        alone = page.get_by_role("link", name="Make exchange 1 a known issue")
        expect(alone).to_have_attribute("href", str(real))
        page.goto("/canaries/support-nov/pairs")  # the second link is at the candidate's answer to the copy
        page.locator(f"a[href='{address}']").click()
        shown = page.get_by_role("article", name="What shows it")
        expect(shown.locator(".message").first).to_have_text(QUESTION)
        expect(shown).to_contain_text("openai/gpt-4o-2024-11-20")
        page.get_by_label("Name of the failure").fill("asks for the <b>number</b> again")
        page.get_by_label("What goes wrong").fill("The number was said before.")
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/issues")
    with open_page(at="/issues", viewport=NARROW, bypass_csp=True) as page:
        mode = page.get_by_role("region", name="asks for the <b>number</b> again", exact=True)
        expect(mode).to_contain_text("The number was said before.")
        expect(mode).to_contain_text("first seen in openai/gpt-4o-2024-11-20, told by ann")
        expect(mode.get_by_role("row").last).to_contain_text("has it, since 20")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert Axe().run(page).response["violations"] == []
        page.goto(str(address))
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        expect(page.locator("#known option")).to_have_attribute("value", "asks for the <b>number</b> again")
        page.get_by_label("Name of the failure").fill("asks for the <b>number</b> again")
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("main")).to_contain_text("Not saved: this is an example of a known issue")


def test_the_wrong_answers_of_a_benchmark_lead_to_the_form_with_their_model(
    open_page: Open, stage: Stage
) -> None:
    row = dict.fromkeys(COLUMNS, "") | {"dataset": "support", "id": "r-17", "asked": QUESTION, "new": "yes"}
    row |= {"expected": "In Kiel.", "candidate_answer": "x" * 300}
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        document = a_benchmark("ship")  # the releases read it, too
        made = Benchmarks(store).add(document, baseline="openai/old", candidate="openai/new", at=time.time())
        BenchFailures(store).add(made, [row], strictest(()), now=time.time())
    with open_page(at="/issues/wrong", viewport=NARROW, bypass_csp=True) as page:
        wrong = page.get_by_role("article", name="support: r-17")
        expect(wrong.locator(".message").first).to_have_text(QUESTION)
        expect(wrong).to_contain_text("the current model has it right")
        link = wrong.get_by_role("link", name="Make it a known issue")
        expect(link).to_have_attribute("href", "/issues/new?example=support%3Ar-17&since=openai%2Fnew")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert Axe().run(page).response["violations"] == []
        link.click()
        expect(page.get_by_role("alert")).to_contain_text("There is no dataset 'support' in the config.")


def test_answers_are_labelled_by_keyboard_one_pair_at_a_time_without_the_arms_names(open_page: Open) -> None:
    with open_page() as page:
        # Whoever labels before the page's script is there (or without it) types the name once, too.
        page.route("**/static/page.js", lambda route: route.abort())
        page.goto("/canaries/support-nov/pairs")
        expect(page.get_by_role("region", name="Labels")).to_contain_text("No labels yet")
        page.get_by_role("link", name="Label answers").click()
        pair = page.get_by_role("article", name="The pair")
        expect(pair.get_by_role("heading")).to_have_text(["Answer A", "Answer B"])
        assert not re.search("baseline|candidate|gpt-", pair.inner_text())
        exchange = page.locator("input[name=exchange]").get_attribute("value")
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("button", name="Only A").focus()
        for _ in range(2):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 labelled so far")).to_be_visible()
        if page.locator("input[name=exchange]").count():
            assert page.locator("input[name=exchange]").get_attribute("value") != exchange
            expect(page.get_by_label("Your name")).to_have_value("ann")
        page.get_by_role("link", name="Captured pairs").click()
        labels = page.get_by_role("region", name="Labels")
        expect(labels).to_contain_text("1 labelled, 0 unclear: a spot check")
        expect(labels).to_contain_text("1 of 1")
        # Pairs are asked for at random, and the page shows the oldest of the day.
        labelled = page.get_by_role("article").filter(has_text=(exchange or "?")[-8:])
        while not labelled.count():
            page.get_by_role("link", name="More of this day").click()
            page.wait_for_load_state("domcontentloaded")
        expect(labelled).to_contain_text("right: both, labelled by ann")


def test_the_archive_tells_what_every_run_changed_and_keeps_its_report(open_page: Open) -> None:
    def has_it(page: Page) -> bool:
        page.goto("/archive")
        return page.get_by_role("row").filter(has_text="billing-mini, run 1").count() == 1

    with open_page() as page:
        eventually(lambda: has_it(page))
        row = page.get_by_role("row").filter(has_text="billing-mini")
        expect(row).to_contain_text("gpt-4o-mini-2024-07-18 → gpt-4.1-nano-2025-04-14")
        expect(page.get_by_role("region", name="Summary")).to_contain_text("openai: 1 release; more")
        row.get_by_role("link", name="Don't ship").click()
        expect(page.locator("h1")).to_have_text(re.compile("Don.t ship"))
        page.goto("/archive/0123456789abcdef")
        expect(page.locator("main")).to_contain_text("There is no evaluation")


def test_a_session_is_found_by_its_id_and_shows_each_exchange_with_its_tools(open_page: Open) -> None:
    with open_page(at="/sessions") as page:
        page.get_by_role("textbox", name="Session").fill(SESSION)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_contain_text("6 exchanges in ")
        assert re.search(r"/sessions/[0-9a-f]{32}$", page.url)
        rows = page.locator(".waterfall li:not(.axis):not(.idle)")
        expect(rows).to_have_count(6)
        expect(rows.nth(4)).to_contain_text("calls tools: find_parcel (the 5th time with the same arguments)")
        expect(rows.nth(5)).to_contain_text("answered")
        expect(page.locator("main")).to_contain_text("find_parcel was called 5 times with the same")
        assert QUESTION not in page.inner_text("main")
        expect(page.get_by_role("link", name="support-nov")).to_be_visible()
        page.get_by_role("link", name="Another session").click()
        page.get_by_role("textbox", name="Session").fill("nobody's")
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text("Nothing is stored of this session.")


def test_the_verdict_so_far_leads_to_its_segments_and_categories(open_page: Open) -> None:
    with open_page(at="/canaries/support-nov") as page:
        page.locator(".score").get_by_role("link", name="Extend").click()
        expect(
            page.get_by_role("region", name="Segment").get_by_role("row", name="plan pro").first
        ).to_be_visible()
        expect(
            page.get_by_role("region", name="Category").get_by_role("row", name="billing").first
        ).to_be_visible()
        page.get_by_role("link", name="Full report").click()
        expect(page.get_by_text("support-nov: gpt-4o-2024-08-06")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_release_has_a_document_for_each_reader(open_page: Open, stage: Stage, width: int) -> None:
    with open_page(at="/releases", viewport={"width": width, "height": 900}) as page:
        page.get_by_role("link", name="gpt-4.1-nano").click()
        expect(page.get_by_role("heading", name="What happened")).to_be_visible()
        for reader, title in (
            ("vendor", "what failed at the provider"),
            ("finance", "what it costs"),
            ("team", "from noticed to decided"),
        ):
            page.get_by_role("link", name=f"For {reader}").click()
            expect(page.locator("h1")).to_contain_text(title)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            ids = page.get_by_text(re.compile(r"^req_\w+$"))
            if reader == "finance":
                expect(ids).to_have_count(0)
            else:
                expect(ids.first).to_be_visible()
            told = page.get_by_text("billing-mini, run 1: people were told: page")
            expect(told).to_have_count(1 if reader == "team" else 0)
            page.get_by_role("link", name="The release").click()
