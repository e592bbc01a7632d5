"""What people read: every rendering says the verdict, stands alone and lets nothing break out."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pages.charts import BAR_WIDTH, bar
from pages.reports.report import rendered
from pages.words import verdict
from pages.words.figures import label
from verdict.decision.document import Mirror, Report, from_json
from verdict.decision.verdict import build
from verdict.rows.reasons import StoredReason
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary

Log = Callable[[Any], Path]
HOSTILE = 'x"><script>alert(1)</script>|*a*'


@pytest.fixture(scope="module")
def extended(write_log: Log, world: type[Any], canary: JudgedCanary, now: float) -> Report:
    return build(from_csv(write_log(world(users=2500, completed=(0.87, 0.865)))), canary, now=now)


@pytest.fixture(scope="module")
def refused(write_log: Log, world: type[Any], canary: JudgedCanary, now: float) -> Report:
    log = write_log(world(latency_s=(0.4, 1.6), worse_in={"billing": 0.2}))
    return build(from_csv(log), replace(canary, critical_categories=frozenset({"billing"})), now=now)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def _parsed(page: str) -> _Elements:
    elements = _Elements()
    elements.feed(page)
    return elements


def test_the_page_stands_alone(refused: Report) -> None:
    page = rendered(refused, "html")
    elements = _parsed(page)
    assert elements.links == []
    assert not {"link", "img", "iframe", "object"} & set(elements.tags)
    (style,), (script,) = (
        re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("style", "script")
    )
    for kind, text in (("style", style), ("script", script)):
        hashed = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src &#39;sha256-{hashed}&#39;" in page
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page


def test_the_page_says_the_verdict_before_anything_else(refused: Report) -> None:
    page = rendered(refused, "html")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body>")[1]))
    places = [
        text.index(part)
        for part in (
            "Don’t ship",
            "Latency p95 misses",
            "What would change",
            "Criteria and results",
            "How to read",
        )
    ]
    assert places == sorted(places)


def test_every_metric_has_its_bar_with_words_for_those_who_cannot_see_it(refused: Report) -> None:
    page = rendered(refused, "html")
    bars = re.findall(r'aria-label="(candidate [^"]+)"', page)
    assert len(bars) == len(refused.metrics)
    assert bars[0].startswith(
        "candidate 88.7 %, interval 85.8 % to 91.5 %, baseline 94.8 %, acceptable 85.0 %"
    )


@pytest.mark.parametrize("form", ["html", "markdown", "text"])
def test_every_form_says_what_is_missing(extended: Report, form: str) -> None:
    text = " ".join(rendered(extended, form).split())
    assert "Extend the canary" in text
    assert "more days" in text
    assert extended.rubric_sha256 in text


def test_nothing_breaks_out_of_the_page_or_a_table(refused: Report) -> None:
    line = replace(refused.metrics[0], question=HOSTILE)
    hostile = replace(
        refused, canary=HOSTILE, metrics=(line, *refused.metrics[1:]), reasons=(StoredReason(words=HOSTILE),)
    )
    assert _parsed(rendered(hostile, "html")).tags.count("script") == 1
    text = rendered(hostile, "markdown")
    assert "<script>" not in text
    assert "*a*" not in text
    widths = {row.count("|") for row in text.splitlines() if row.startswith("| ✓")}
    assert widths == {10}


def test_the_json_is_strict(extended: Report) -> None:
    document = json.loads(rendered(extended, "json"))
    assert document["verdict"] == "extend"
    assert "NaN" not in rendered(extended, "json")


def test_the_terminal_keeps_its_width_and_its_colours_to_itself(refused: Report) -> None:
    text = rendered(refused, "text", width=90)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 90
    assert "\x1b" not in text


def test_in_eighty_columns_no_figure_of_a_metric_is_folded(refused: Report) -> None:
    lines = [" ".join(line.split()) for line in rendered(refused, "text", width=80).splitlines()]
    for line in refused.metrics:
        arms = f"{verdict.value(line, line.baseline)} {verdict.value(line, line.candidate)}"
        figures = f"{arms} {verdict.interval(line)}"
        assert any(label(line.metric) in row and figures in row for row in lines)
        assert f"{label(line.metric)} {line.acceptable} {line.ideal} {line.units:,}" in lines


def test_an_empty_canary_can_be_shown(canary: JudgedCanary, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("unit,arm,at\na,baseline,1\n")
    report = build(from_csv(path).until(0.0), canary, now=0.0)
    assert report.verdict == "extend"
    for form in ("html", "markdown", "text", "json"):
        assert "extend" in rendered(report, form).lower()


def test_a_bar_keeps_its_order_and_its_room(refused: Report) -> None:
    for line in refused.metrics:
        drawn = bar(line)
        assert drawn is not None
        assert drawn.live is not None
        assert drawn.candidate is not None
        assert 0 < drawn.live.low <= drawn.candidate <= drawn.live.high < BAR_WIDTH
        assert drawn.ideal_zone[1] < drawn.acceptable_zone[1]


def test_an_open_end_reaches_the_edge(refused: Report) -> None:
    line = replace(refused.metrics[1], candidate_interval=(2.0, None))
    drawn = bar(line)
    assert drawn is not None
    assert drawn.live is not None
    assert (drawn.live.open_low, drawn.live.open_high) == (False, True)


def test_a_bound_on_the_baseline_needs_a_baseline_to_be_drawn(refused: Report) -> None:
    line = replace(
        refused.metrics[0], acceptable=">= baseline - 2%", ideal=">= baseline", baseline=None, candidate=0.9
    )
    assert bar(line) is None
    drawn = bar(replace(line, baseline=0.95))
    assert drawn is not None
    assert drawn.acceptable.x < drawn.ideal.x == drawn.baseline


@pytest.mark.parametrize(
    ("cost_usd", "words"),
    [(0.42, "12 mirrored requests, 3 failed, $0.42"), (None, "cost unknown")],
)
def test_every_form_tells_of_the_mirror_copies_and_only_where_there_were_any(
    extended: Report, cost_usd: float | None, words: str
) -> None:
    forms = ("text", "markdown", "html")
    for form in forms:
        assert "copied request" not in rendered(extended, form)
    assert "mirror" not in json.loads(rendered(extended, "json"))
    copied = replace(extended, mirror=Mirror(copies=12, failed=3, cost_usd=cost_usd))
    for form in forms:
        assert words in rendered(copied, form)
    document = json.loads(rendered(copied, "json"))
    assert document["mirror"] == {"copies": 12, "failed": 3, "cost_usd": cost_usd}
    assert from_json(document).mirror == copied.mirror
