"""People label captured pairs in a real browser: by keys, with undo, and never by mistake."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import partial
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from console.captures import candidate_is_a
from judge.judgements import JudgedExchange, Judgements
from records.captures.capture import CapturedMessage
from records.store import Store
from records.store.captures import CaptureStore, Label, Labels
from tests.console.chromium import chromium, opened
from tests.e2e.stage import Stage, on_stage
from tests.records.test_capture_store import a_capture

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 20%
    mirror: 10%
    capture: {{rate: 10%}}
  - name: judged
    match: {{models: [gpt-4.1]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 20%
    mirror: 10%
    capture: {{rate: 10%}}
"""
PAGE = "/canaries/support-nov/label"
PROMPT = "You are the support of a parcel service. Promise nothing.\n" * 20
LONG = "Your parcel is on its way, and it arrives tomorrow.\n" * 60
COUNT = 6
PREFIX, JUDGED = "exchange-256", "judged-124"
"""With these the six pairs are asked for in the order of their numbers."""
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("labels"), CONFIG, workers=1) as up:
        yield up


@pytest.fixture
def store(stage: Stage) -> Iterator[Store]:
    """The server's own, with six pairs and without labels that count."""
    now = time.time()
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as opened_store:
        for number in range(COUNT):
            add_pair(opened_store, number, now)
            add_pair(opened_store, number, now, canary="judged")
        for label in Labels(opened_store).given("support-nov"):
            Labels(opened_store).withdraw(label, at=now)
        yield opened_store


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, stage: Stage, store: Store) -> Open:
    return partial(opened, browser, stage.server.admin, stage.server.token, at="")


def add_pair(store: Store, number: int, now: float, canary: str = "support-nov") -> None:
    """A pair whose questions, answers and system prompt can be told apart."""
    prefix = PREFIX if canary == "support-nov" else JUDGED
    name, prompt = f"{prefix}-{number}", PROMPT if number < 4 else "Be brief."
    about: dict[str, Any] = {"at": now - 600 + number, "expires_at": now + 9000, "canary": canary}
    asked = CapturedMessage("system", prompt), CapturedMessage("user", f"Where is <b>parcel</b> {number}?")
    real = replace(a_capture(name, answer=f"old {number}: {LONG}", **about), messages=asked)
    copy = a_capture(f"copy of {name}", answer=f"new {number}", copy_of=name, arm="candidate", **about)
    CaptureStore(store).add([real, copy], now=now)


def press(page: Page, key: str) -> None:
    """Press a key once the page's scripts have run, which is after its text is there."""
    page.wait_for_load_state("domcontentloaded")
    page.keyboard.press(key)


def asked(page: Page, number: int) -> None:
    expect(page.get_by_text(f"Where is <b>parcel</b> {number}?")).to_be_visible()


def votes(store: Store) -> list[tuple[str, str, str]]:
    """(exchange's number, right, who) of the labels that count."""
    return [(each.exchange_id[-1], each.right, each.who) for each in Labels(store).given("support-nov")]


def arm(letter: str, number: int) -> str:
    return "candidate" if (letter == "a") == candidate_is_a(f"{PREFIX}-{number}") else "baseline"


def test_a_person_labels_by_keys_and_takes_back_also_after_a_restart(
    browser: Browser, open_page: Open, store: Store, stage: Stage
) -> None:
    with open_page() as page:
        page.goto(f"{PAGE}?who=ann")
        for number, key in enumerate("absnu"):
            asked(page, number)
            press(page, key)
        asked(page, 5)
        given = [arm("a", 0), arm("b", 1), "both", "neither", "unclear"]
        assert votes(store) == [(f"{number}", right, "ann") for number, right in enumerate(given)]
        press(page, "z")
        asked(page, 4)
        press(page, "z")
        asked(page, 3)
        assert len(votes(store)) == 3
    stage.restart()
    with opened(browser, stage.server.admin, stage.server.token, at="") as page:
        page.goto(f"{PAGE}?who=ann")
        asked(page, 3)
        press(page, "z")
        asked(page, 2)
        press(page, "a")
        asked(page, 3)
        assert votes(store) == [("0", given[0], "ann"), ("1", given[1], "ann"), ("2", arm("a", 2), "ann")]


def test_enter_alone_labels_nothing_and_in_the_field_it_takes_the_name(open_page: Open, store: Store) -> None:
    with open_page() as page:
        page.goto(PAGE)
        expect(page.locator("body")).to_be_focused()
        press(page, "Enter")
        press(page, "a")
        expect(page.get_by_label("Your name")).to_be_focused()  # it is required
        page.keyboard.type("ann", delay=0)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{PAGE}?who=ann")
        asked(page, 0)
        press(page, "Enter")
        page.keyboard.down("a")
        asked(page, 1)
        page.wait_for_load_state("domcontentloaded")
        page.keyboard.down("a")  # held down
        page.keyboard.up("a")
        press(page, "s")
        asked(page, 2)
        assert votes(store) == [("0", arm("a", 0), "ann"), ("1", "both", "ann")]


def test_two_people_label_the_same_pairs_and_their_agreement_is_told(open_page: Open, store: Store) -> None:
    with open_page() as page:
        page.goto(f"{PAGE}?who=ann")
        for number, key in enumerate("sa"):
            asked(page, number)
            press(page, key)
        asked(page, 2)
        page.goto(f"{PAGE}?who=ben")
        asked(page, 2)
        page.get_by_role("link", name="Pairs that another person labelled").click()
        for number, key in enumerate("nb"):
            asked(page, number)
            assert not re.search(r"\bann\b", page.get_by_role("article").inner_text())
            press(page, key)
        expect(page.get_by_text("No pair is left that another person labelled")).to_be_visible()
        expect(page.get_by_text("Labelled by two people: 2 pairs. They agree on 1")).to_be_visible()
        page.get_by_role("link", name="Pairs without your label").click()
        asked(page, 2)


def test_the_judge_s_pairs_come_first_and_its_word_is_not_shown(open_page: Open, store: Store) -> None:
    judgements, now = Judgements(store), time.time()
    for number, said in ((3, ("B", "A")), (4, ("A", "A"))):
        judged = JudgedExchange(
            exchange_id=f"{JUDGED}-{number}",
            canary="judged",
            run=1,
            kind="pair",
            unit="u",
            category="",
            at=now,
            asked_at=now,
            judge="openai/some-judge",
            words_sha256="0" * 64,
        )
        calls = judgements.begin(judged, {1: 0.0, 2: 0.0}, budget_usd=1.0, expires_at=now + 60)
        for call, word in zip(calls.values(), said, strict=True):
            judgements.answered(call, said=word, reason="It is the kinder one.", cost_usd=0.0)
    with open_page() as page:
        page.goto("/canaries/judged/label?who=ann")
        asked(page, 3)
        expect(page.get_by_text("Labels on pairs that the judge marked: 0. A rubric row")).to_be_visible()
        assert "kinder" not in page.content()
        assert "some-judge" not in page.content()
        page.get_by_role("link", name="Disagreements first").click()
        asked(page, 4)
        press(page, "a")
        asked(page, 3)
        press(page, "a")
        expect(page.get_by_text("Labels on pairs that the judge marked: 1. A rubric row")).to_be_visible()
        asked(page, 0)


def test_a_system_prompt_that_repeats_is_folded_and_can_be_opened(open_page: Open, store: Store) -> None:
    Labels(store).add(
        Label(at=time.time(), canary="support-nov", exchange_id=f"{PREFIX}-0", right="both", who="ann")
    )
    with open_page() as page:
        page.goto(f"{PAGE}?who=ben&second=1")
        expect(page.get_by_role("region", name="System prompt")).to_be_visible()
        page.goto(f"{PAGE}?who=ann&first=disagreements&again={PREFIX}-1")
        asked(page, 1)
        expect(page.get_by_role("region", name="System prompt")).to_be_hidden()
        page.get_by_text("Same system prompt as before").click()
        expect(page.get_by_role("region", name="System prompt")).to_be_visible()
        page.goto(f"{PAGE}?who=ann&again={PREFIX}-5")
        expect(page.get_by_role("region", name="System prompt")).to_have_text("Be brief.")


def test_the_id_is_short_and_copied_or_selected_whole(open_page: Open) -> None:
    whole = f"{PREFIX}-1"
    with open_page(permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"{PAGE}?again={whole}")
        expect(page.get_by_text(whole[-8:], exact=True)).to_be_visible()
        page.get_by_role("button", name="copy id").click()
        expect(page.get_by_role("button", name="copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == whole
    with open_page() as page:
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.goto(f"{PAGE}?again={whole}")
        page.get_by_role("button", name="copy id").click()
        expect(page.get_by_text(whole, exact=True)).to_be_visible()
        assert page.evaluate("getSelection().toString()") == whole


def test_a_label_of_an_expired_pair_is_refused_above_the_next_pair(open_page: Open, store: Store) -> None:
    with open_page() as page:
        page.goto(f"{PAGE}?who=ann")
        page.evaluate("document.querySelector('[name=exchange]').value = 'gone'")
        press(page, "a")
        expect(page.get_by_role("alert")).to_contain_text("Not saved: this pair does not exist")
        asked(page, 0)
        press(page, "a")
        asked(page, 1)
        page.get_by_text("You are ann").click()
        page.get_by_label("Your name").fill("somebody else")
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("alert")).to_have_text(
            "Nothing was undone: this pair has no label of somebody else."
        )
        assert votes(store) == [("0", arm("a", 0), "ann")]


def test_a_form_with_a_pair_a_label_and_a_name_is_enough(open_page: Open, store: Store) -> None:
    with open_page() as page:
        page.goto(PAGE)
        token = page.locator("[name=form_token]").last.input_value()
        form = {"form_token": token, "exchange": f"{PREFIX}-4", "right": "neither", "who": "ann"}
        assert page.request.post(PAGE, form=form).ok
        for wrong, status in (({"right": "c"}, 400), ({"who": " "}, 400), ({"exchange": "gone"}, 404)):
            assert page.request.post(PAGE, form=form | wrong).status == status
        assert page.request.post(PAGE, form=form | {"form_token": "guessed"}).status == 403
        assert votes(store) == [("4", "neither", "ann")]


def test_answers_stand_side_by_side_or_below_each_other_and_the_buttons_stay(open_page: Open) -> None:
    for width, beside in ((1280, True), (390, False)):
        with open_page(viewport={"width": width, "height": 844}) as page:
            page.goto(f"{PAGE}?who=ann")
            first, second = (page.get_by_role("region", name=f"Answer {each}") for each in "AB")
            one, other = first.bounding_box(), second.bounding_box()
            assert one is not None and other is not None
            assert (one["y"] == other["y"], one["x"] == other["x"]) == (beside, not beside)
            assert max(one["height"], other["height"]) <= 0.6 * 844 + 1
            expect(page.get_by_role("button", name="Cannot say")).to_be_in_viewport()
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.more)])
def test_axe_finds_nothing(open_page: Open, scheme: str) -> None:
    with open_page(color_scheme=scheme, bypass_csp=True, viewport={"width": 390, "height": 844}) as page:
        for query in ("", "?who=ann", "?who=ann&second=1"):
            page.goto(f"{PAGE}{query}")
            found = Axe().run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
