"""The report in a real browser: it fits a phone, asks for nothing, and reads in the dark and on paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.console.chromium import chromium

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = ("ship_now", "ship", "ship_with_caveats", "dont_ship", "extend")
AA = 4.5
"""WCAG's least contrast of small text."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def _opened(browser: Browser, name: str, width: int, scheme: str = "light") -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((EXAMPLES / f"{name}.html").as_uri())
    return page, asked


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window_and_asks_for_nothing(browser: Browser, name: str, width: int) -> None:
    page, asked = _opened(browser, name, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert asked == [(EXAMPLES / f"{name}.html").as_uri()]
    page.close()


def test_its_times_are_the_reader_s_own_and_utc_on_hover(browser: Browser) -> None:
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB")
    page = context.new_page()
    page.goto((EXAMPLES / "extend.html").as_uri())
    times = page.locator("time").evaluate_all("all => all.map(each => [each.textContent, each.title])")
    assert ["7 Nov 2026, 08:59", "2026-11-06 23:59:00 UTC"] in times
    assert ["2 Nov 2026, 09:18", "2026-11-02 00:18:00 UTC"] in times
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_verdict_the_money_and_the_score_are_in_the_first_window(browser: Browser, width: int) -> None:
    page, _ = _opened(browser, "ship_now", width)
    for selector in ("h1", ".short", ".score b"):
        box = page.locator(selector).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 900
    page.close()


@pytest.mark.parametrize("name", ["dont_ship", "extend"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_drawing_leaves_its_frame_and_no_text_lies_on_another(
    browser: Browser, name: str, width: int
) -> None:
    page, _ = _opened(browser, name, width)
    assert page.evaluate(_OUTSIDE) == []
    assert page.evaluate(_OVERLAPPING) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, scheme: str) -> None:
    page, _ = _opened(browser, "dont_ship", 1280, scheme)
    faint = [
        (text, found) for text, *colours in page.evaluate(_COLOURS) if (found := _contrast(*colours)) < AA
    ]
    assert faint == []
    page.close()


def test_the_dark_is_dark_and_paper_is_white(browser: Browser) -> None:
    page, _ = _opened(browser, "dont_ship", 1280, "dark")
    assert _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.05
    page.emulate_media(media="print", color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("summary").first.is_hidden(), "on paper there is nothing to open"
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8
    page.close()


def _contrast(ink: str, paper: str) -> float:
    light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of rgb(r, g, b)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


_OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text, path, circle')].filter(each => {
    const box = each.getBoundingClientRect();
    return box.left < frame.left - 3 || box.right > frame.right + 3 || box.bottom > frame.bottom + 3;
  }).map(each => each.outerHTML);
})"""
_OVERLAPPING = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')]
    .map(each => [each.textContent, each.getBoundingClientRect()]);
  return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([_, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4
  ).map(([other]) => [one, other]));
})"""
_COLOURS = """[...document.querySelectorAll('main *')].filter(each =>
  !each.closest('svg') && each.checkVisibility() &&
  [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())
).map(each => {
  let behind = each;
  while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  return [each.textContent.trim().slice(0, 40), getComputedStyle(each).color,
    getComputedStyle(behind).backgroundColor];
})"""
