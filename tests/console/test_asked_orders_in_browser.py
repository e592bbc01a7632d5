"""Links to an order's dialog, and promotions by two people, as a person meets them in a real browser."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from alerts.incidents.notice import offer_url
from tests.console.chromium import WITHIN_MS, chromium, opened
from tests.e2e.stage import Stage, on_stage
from tests.effort import in_more
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 20%
    promote: two_people
"""
REASON = 'error_rate: 12 of 20 <b>failed</b> & "more", größer'
WHY = "Reason, for the audit log"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("asked"), CONFIG) as up:
        eventually(lambda: up.status("support-nov")["state"] == "running")
        yield up


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    """A page that is logged in."""
    with opened(browser, stage.server.admin, stage.server.token) as up:
        yield up


def link(stage: Stage, order: str, reason: str = REASON) -> str:
    return offer_url(stage.server.admin, "support-nov", order, reason)  # type: ignore[arg-type]


def test_a_link_leads_through_the_login_to_the_dialog_filled_in_and_orders_nothing(
    browser: Browser, stage: Stage
) -> None:
    context = browser.new_context()
    context.set_default_timeout(WITHIN_MS)
    page = context.new_page()
    page.goto(link(stage, "rollback"))
    page.get_by_label("Admin token").fill(stage.server.token)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Roll back: support-nov?")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_label(WHY)).to_have_value(REASON)
    expect(dialog.get_by_label("Your name")).to_have_value("")
    assert page.evaluate("document.querySelector('dialog[open]').matches(':modal')")
    assert urlsplit(page.url).path == "/canaries/support-nov"
    dialog.get_by_role("button", name="Roll back").click()  # the browser asks for the name
    expect(dialog.get_by_label("Your name")).to_be_focused()
    assert stage.status("support-nov")["state"] == "running"
    assert [each["action"] for each in stage.api("GET", "/api/audit").json()] == ["first seen"]
    context.close()


def test_the_dialog_of_a_link_carries_out_the_order_once_a_person_says_so(page: Page, stage: Stage) -> None:
    page.goto(link(stage, "pause"))
    dialog = page.get_by_role("dialog", name="Pause: support-nov?")
    dialog.get_by_label("Your name").fill("anna")
    dialog.get_by_role("button", name="Pause").click()
    expect(dialog).to_contain_text(re.compile("Paused, share 20.%"))
    newest = stage.api("GET", "/api/audit?limit=1").json()[0]
    assert (newest["action"], newest["who"], newest["reason"]) == ("pause", "anna", REASON)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.goto(link(stage, "pause"))
    expect(page.get_by_text("Already paused: nothing to do.")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Resume…")).to_have_count(0)
    page.get_by_role("link", name="Other orders").click()
    expect(page.get_by_role("button", name="Resume…")).to_be_visible()
    page.goto(link(stage, "start"))
    expect(page.get_by_text("The link that you followed asks to start. That is not possible")).to_be_visible()
    stage.api("POST", "/api/canaries/support-nov/resume", {"who": "ben", "reason": "so that it runs"})


@pytest.mark.parametrize("order", ["delete", in_more(""), in_more("<script>")])
def test_a_link_to_no_order_is_the_page(page: Page, order: str) -> None:
    page.goto(f"/canaries/support-nov?order={order}&reason=x")
    expect(page.get_by_role("button", name="Roll back…")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_without_scripts_the_dialog_of_a_link_is_open_too(browser: Browser, stage: Stage) -> None:
    with opened(browser, stage.server.admin, stage.server.token, java_script_enabled=False) as page:
        page.goto(link(stage, "pause"))
        dialog = page.get_by_role("dialog", name="Pause: support-nov?")
        expect(dialog.get_by_label(WHY)).to_have_value(REASON)
        assert page.locator("meta[http-equiv=refresh]").count() == 0  # what is typed stays


def test_one_person_asks_on_the_page_and_another_promotes(page: Page, stage: Stage) -> None:
    def promote(who: str, verb: str) -> None:
        page.get_by_role("button", name="Promote…").click()
        dialog.get_by_label(WHY).fill("it won")
        dialog.get_by_label("Your name").fill(who)
        dialog.get_by_label("Against the verdict").check()
        dialog.get_by_role("button", name=verb, exact=True).click()

    page.goto("/canaries/support-nov")
    dialog = page.get_by_role("dialog", name="Ask to promote: support-nov?")
    promote("anna", "Ask to promote")
    expect(dialog).to_contain_text(re.compile("Not promoted yet: asked by anna .*somebody else may promote"))
    page.keyboard.press("Escape")
    card = page.get_by_role("region", name="support-nov")
    expect(card).to_contain_text(re.compile(r"Promotion asked by anna .* ago \(it won\)"))
    page.goto("/audit")
    expect(page.get_by_role("region", name="Audit log")).to_contain_text("promotion asked")
    page.goto("/canaries/support-nov")
    dialog = page.get_by_role("dialog", name="Promote: support-nov?")
    promote(" Anna ", "Promote")
    expect(dialog).to_contain_text("anna has asked already: somebody else must promote support-nov")
    page.goto(link(stage, "promote", "agreed with anna"))
    expect(dialog).to_contain_text("If that was not you, this promotes it.")
    expect(dialog.get_by_label(WHY)).to_have_value("agreed with anna")
    expect(dialog).to_contain_text("The report says extend")
    dialog.get_by_label("Your name").fill("ben")
    dialog.get_by_role("button", name="Promote").click()
    expect(dialog).to_contain_text("not promoted: the report says extend")
    dialog.get_by_label("Against the verdict").check()
    dialog.get_by_role("button", name="Promote").click()
    expect(dialog).to_contain_text(re.compile("Promoted, share 100.%"))
    newest = stage.api("GET", "/api/audit?limit=1").json()[0]
    assert (newest["who"], newest["reason"]) == ("anna and ben", "anna: it won; ben: agreed with anna")
