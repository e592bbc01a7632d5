"""People label a dataset in a real browser: by keys, with undo, and one after the other."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from bench.dataset.labels import proposed
from tests.console.chromium import chromium, opened
from tests.e2e.stage import Stage, on_stage

pytestmark = pytest.mark.more  # another page of the labelling that a browser test holds

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 20%
datasets:
  users: {{file: users.jsonl, layer: real}}
  lost: {{file: lost.jsonl, layer: synthetic}}
"""
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("datasets"), CONFIG, workers=1) as up:
        yield up


@pytest.fixture
def file(stage: Stage) -> Path:
    found = stage.server.config.with_name("users.jsonl")
    asked = [{"role": "user", "content": "Where is <b>my</b> parcel?"}]
    bare = {"task": "judge", "input": asked, "category": "delivery"}
    lines = [
        proposed({"id": f"e-{n}", **bare}, f"Parcel {n}\nis on its way.", by="openai/old", at=0.0)
        for n in range(3)
    ]
    found.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, stage: Stage, file: Path) -> Open:
    return partial(opened, browser, stage.server.admin, stage.server.token, at="")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def press(page: Page, key: str) -> None:
    """Press a key once the page's scripts have run, which is after its text is there."""
    page.wait_for_load_state("domcontentloaded")
    page.keyboard.press(key)


def left(page: Page, words: str) -> None:
    expect(page.get_by_text(words)).to_be_visible()


def test_a_person_labels_by_keys_and_undoes(open_page: Open, file: Path) -> None:
    with open_page() as page:
        page.goto("/")
        page.get_by_role("link", name="Datasets").click()
        row = page.get_by_role("row").filter(has_text="users")
        expect(row.get_by_role("cell")).to_have_text(
            ["users", "layer real", "examples 3", "labels 0, spot", "proposals left 3"]
        )
        expect(page.get_by_role("row").filter(has_text="lost")).to_contain_text("The server cannot read")
        row.get_by_role("link").click()
        left(page, "3 proposals left in users")
        expect(page.get_by_text("Where is <b>my</b> parcel?")).to_be_visible()
        expect(page.get_by_label("Proposed answer")).to_have_value("Parcel 0\nis on its way.")
        expect(page.get_by_text("Task judge, proposed by openai/old")).to_be_visible()
        page.get_by_label("Your name").fill("ann")
        page.get_by_role("heading", level=1).click()  # out of the field
        for key in "kda":
            press(page, key)
        left(page, "2 proposals left in users")
        press(page, "e")
        expect(page.get_by_label("Proposed answer")).to_be_focused()
        page.keyboard.press("Control+A")
        page.keyboard.type("As busy as a bee.")  # its letters are text here
        page.keyboard.press("Escape")
        press(page, "a")
        left(page, "1 proposal left in users")
        press(page, "b")
        left(page, "0 proposals left in users")
        expect(page.get_by_text("Nothing left to label for ann.")).to_be_visible()
        expect(page.get_by_text("openai/old: people kept its proposals in 1 of 2")).to_be_visible()

        first, second, third = lines(file)
        assert (first["expected"], first["critical"]) == ("Parcel 0\nis on its way.", True)
        assert first["tags"] == {"label": "accepted", "edge": "yes"}
        assert first["category"] == "delivery"
        assert (second["expected"], second["tags"]) == ("As busy as a bee.", {"label": "edited"})
        assert (third["expected"], third["tags"]) == (None, {"label": "ambiguous"})
        assert {each["labels"][-1]["by"] for each in (first, second, third)} == {"ann"}

        press(page, "u")
        left(page, "1 proposal left in users")
        expect(page.get_by_label("Proposed answer")).to_have_value("Parcel 2\nis on its way.")
        press(page, "u")
        left(page, "2 proposals left in users")
        expect(page.get_by_label("Proposed answer")).to_have_value("Parcel 1\nis on its way.")
        assert [each["tags"]["label"] for each in lines(file)] == ["accepted", "proposed", "proposed"]
        assert len(lines(file)[1]["labels"]) == 1


def test_a_second_person_is_asked_after_the_proposals_and_the_disagreement_is_told(
    open_page: Open, file: Path
) -> None:
    with open_page() as page:
        page.goto("/datasets/users/label?who=ben")
        press(page, "s")  # skips the first
        expect(page.get_by_label("Proposed answer")).to_have_value("Parcel 1\nis on its way.")
        for count, shown in ((2, 0), (1, 2)):
            press(page, "a")
            left(page, f"{count} proposal{'s' * (count > 1)} left in users")
            expect(page.get_by_label("Proposed answer")).to_have_value(f"Parcel {shown}\nis on its way.")
        press(page, "a")
        left(page, "0 proposals left in users")
        page.goto("/datasets/users/label?who=cleo")
        left(page, "0 proposals left in users; for a second opinion: 3")
        expect(page.get_by_label("The label that one person gave")).to_be_visible()
        assert "ben" not in page.get_by_role("article").inner_text()
        press(page, "a")
        left(page, "for a second opinion: 2")
        press(page, "b")
        left(page, "for a second opinion: 1")
        expect(page.get_by_text("two people differ in 1 of 2 (9 % to 91 %)")).to_be_visible()


def test_a_label_of_nobody_or_of_a_changed_example_is_refused(open_page: Open, file: Path) -> None:
    with open_page() as page:
        page.goto("/datasets/users/label?who=ann")
        file.write_text(file.read_text().replace("Parcel 0", "Packet 0"))
        press(page, "a")
        expect(page.get_by_role("alert")).to_contain_text("changed or removed meanwhile")
        page.goto("/datasets/users/label")
        page.evaluate("localStorage.clear()")
        page.goto("/datasets/users/label")
        press(page, "a")
        expect(page.get_by_label("Your name")).to_be_focused()  # it is required
        assert all(each["tags"]["label"] == "proposed" for each in lines(file))
        page.goto("/datasets/other/label")
        expect(page.get_by_role("alert")).to_contain_text("There is no dataset 'other'")


def test_both_pages_are_accessible_and_fit_a_telephone(open_page: Open) -> None:
    for scheme in ("light", "dark"):
        with open_page(color_scheme=scheme, bypass_csp=True, viewport={"width": 390, "height": 844}) as page:
            for path in ("/datasets", "/datasets/users/label?who=ann"):
                page.goto(path)
                found = Axe().run(page).response["violations"]
                assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
                assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_pages_obey_their_own_policy(open_page: Open) -> None:
    with open_page() as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for path in ("/datasets", "/datasets/users/label?who=ann"):
            page.goto(path)
            expect(page.locator("h1")).to_be_visible()
        press(page, "e")
        expect(page.get_by_label("Proposed answer")).to_be_focused()
        assert said == []
