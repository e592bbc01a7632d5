"""No table is cut: long names, models and reasons wrap on a laptop, a wide screen and a phone."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser

import console
from console.rendering import Templates
from pages.document import BulletList, Cell, Document, Paragraph, Section, Table, columns
from pages.status.standing import PastCanaryView
from pages.words.figures import title
from pages.writers import html
from tests.console.chromium import chromium
from tests.console.test_report_on_page import page_values
from tests.console.test_where_on_page import NOW, values_of
from tests.verdict.planned import look_line, metric_line, planned_report
from verdict.decision.document import Difference, PartLine

SHOTS = os.environ.get("CANARY_TEST_SHOTS", "")
"""A folder for pictures of what was looked at; "" for none."""
CSS = (Path(console.__file__).parent / "static" / "page.css").read_text()
NAME = "support-answers-in-the-evening-of-2026-11-with-gpt-6-1-terra-01"
"""As long as a canary's name may be."""
MODEL = "accounts/fireworks/models/qwen3-235b-a22b-instruct-2507-fp8-throughput-eu-west-provisioned"
REASON = f"guardrail error_rate[category=refund]: {'12 of 40 outcomes failed; ' * 12}{'x' * 120}"
ID = "019ac0f3-7d2e-7c11-9f3a-" + "4f" * 28


def _audit() -> list[dict[str, Any]]:
    entry = {
        "time": "2026-11-24 23:05:00",
        "canary": NAME,
        "who": f"guardrail error_rate[category={'r' * 40}]",
        "against": "dont_ship",
        "held_back_until": None,
    }
    acts = ("rollback", "promote_asked", "set_share")
    return [
        {**entry, "action": act, "reason": REASON, "share_before": 0.2, "share_after": 0.0125} for act in acts
    ]


def _verdict() -> str:
    lines = [
        metric_line(look_line(9, -0.03, 0.04), metric=each) for each in ("task_completed", "latency_p95")
    ]
    report = planned_report(*lines, day=9)
    part: dict[str, Any] = {"metric": "task_completed", "state": "TOO_FEW", "blocks": True}
    difference = Difference(low=-0.05, estimate=0.01, high=0.05, p_value=1.0)
    segments = (PartLine(by="plan", value="enterprise" * 6, difference=difference, **part),)
    categories = (PartLine(by=None, value="refund-" * 9, difference=difference, **part),)
    long = replace(report, canary=NAME, segments=segments, categories=categories)
    return Templates().text("verdict.html", page_values(long))


def _release() -> str:
    decided = Cell("✓ Acceptable", tone="PASS", mark=True)
    runs = Table(
        columns("canary", "started", "state", "by", "verdict", "a person decided"),
        [[NAME, "2026-11-24 23:05", f"rolled back: {REASON}", f"{ID}@example.com", "dont_ship", REASON]],
    )
    figures = ["400", "81.0 %", "79.5 %", "0.04", "12 of 400", "1.2 s → 1.4 s", "$1.20 → $0.70"]
    benchmark = Table(
        columns("", "examples", "current right", "candidate right", "p", "new failures", "p95", "cost"),
        [[f"dataset-{ID}", *figures]],
    )
    criteria = Table(
        columns("", "criterion", "acceptable", ""),
        [[decided, "regression_failures_" * 3, ">= baseline - 5 %", REASON]],
    )
    rubric = Table(
        columns("", "criterion", "current model", "candidate", "acceptable", "ideal", "users"),
        [[decided, "task completed", "86.0 %", "86.0 %", ">= baseline - 5 %", ">= 90 %", "12,400"]],
    )
    layers = Table(
        columns("", "layer", "of 100", "current model", "candidate"),
        [[decided, "Synthetic tasks", "81", f"openai/{MODEL}", f"azure/{MODEL}"]],
    )
    tables = {"Runs": runs, "Benchmark": benchmark, "Criteria": criteria, "Rubric": rubric, "Layers": layers}
    return html(
        Document(
            title=f"Extend: openai/{MODEL}",
            about=f"Release {ID}, under way",
            tone="extend",
            head=[BulletList([REASON])],
            sections=[Section(title, [Paragraph(f"Of {ID}."), table]) for title, table in tables.items()],
        )
    )


def _releases() -> str:
    layer = SimpleNamespace(state="PASS", score=81.0)
    each = {
        "id": ID,
        "candidate": {"provider": "openai", "model": MODEL},
        "baseline": {"provider": "azure", "model": MODEL},
        "state": "under_way",
        "ending": "rolled back in category refund",
        "verdict": "ship_with_caveats",
        "decision": "dont_ship",
        "layers": dict.fromkeys(("synthetic", "real", "users", "business"), layer),
        "days": 12.4,
        "minutes": 190,
    }
    return Templates().text("releases.html", values_of() | {"releases": [each]})


def _overview() -> str:
    past = PastCanaryView(
        name=NAME, at=NOW, word="rolled back", tone="bad", icon="bad", sentence="…", who=ID, reason=REASON,
        models=f"openai/{MODEL} → azure/{MODEL}", release=ID, runs=(1,),
    )  # fmt: skip
    values = values_of(name=NAME) | {"audit": _audit(), "past": [past]}
    return Templates().text("overview.html", values)


PAGES = {
    "rubric": _verdict,
    "audit": lambda: Templates().text("audit.html", values_of() | {"audit": _audit()}),
    "release": _release,
    "releases": _releases,
    "overview": _overview,
    "why": lambda: Templates().text("why.html", values_of(name=NAME)),
}
CUT = """() => {
  const wide = document.documentElement;
  const cut = [...document.querySelectorAll('.scroll, th, td')].filter(each =>
    each.checkVisibility() && (each.scrollWidth > each.clientWidth + 1
      || each.getBoundingClientRect().right > wide.clientWidth + 1));
  const named = cut.map(each => each.className + ': ' + each.innerText.slice(0, 60));
  return [wide.scrollWidth > wide.clientWidth, named];
}"""
"""Whether the page scrolls sideways, and what of its tables is cut."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.more)])
@pytest.mark.parametrize("width", [1280, pytest.param(1440, marks=pytest.mark.more), 390])
@pytest.mark.parametrize("name", PAGES)
def test_no_cell_is_cut_and_nothing_scrolls_sideways(
    browser: Browser, name: str, width: int, scheme: Any
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    text = PAGES[name]()
    page.set_content(text if name == "release" else f"<style>{CSS}</style>{text}")
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}-{width}-{scheme}.png", full_page=True)
    assert page.evaluate(CUT) == [False, []]
    page.close()


def test_the_rubric_s_table_has_all_its_columns() -> None:
    assert all(each in _verdict() for each in (title("latency_p95"), "May be, by the looks", "Outlook"))
