"""The report on the page of one canary: what the plan's looks leave possible, and how far the plan is."""

import re
from dataclasses import replace
from typing import Any

from console.access.session import Person
from console.rendering import Templates
from pages.words import plan, verdict
from pages.words.figures import bound_words, title
from pages.words.gains import known_of_answers
from pages.words.reasons import sentences
from tests.verdict.planned import look_line, metric_line, planned_report
from verdict.decision.document import CategoryLine, Difference, Report, SegmentLine, to_json

PLANNED = planned_report(metric_line(look_line(9, -0.03, 0.04)), day=9)


def page_values(report: Report, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the report's pages take, of one canary."""
    return {
        "canary": {"name": "support-nov"},
        "form_token": "",
        "person": Person(role="operator"),
        "report": to_json(report, sentences) if document is None else document,
        "whole": report,
        "prose": verdict,
        "plan_lines": plan,
        "known_of_answers": known_of_answers,
        "title": title,
        "bound_words": bound_words,
    }


def _page(template: str, report: Report, document: dict[str, Any] | None = None) -> str:
    return " ".join(Templates().text(template, page_values(report, document)).split())


def test_the_report_s_page_says_the_plan_and_what_each_row_may_be() -> None:
    page = _page("verdict.html", PLANNED)
    assert "Day 9 of 14; looks each night from day 7 on may ship; next look tonight." in page
    assert "at most 5 would ship on it" in page
    assert "82.0 % – 89.0 %" in page
    assert "Chance to pass by day 14: 40 %" in page


def test_where_the_head_of_the_table_is_hidden_each_figure_of_a_part_has_its_name() -> None:
    (metric,) = {line.metric for line in PLANNED.metrics}
    given: dict[str, Any] = {
        "metric": metric,
        "difference": Difference(),
        "state": "TOO_FEW",
        "blocks": False,
    }
    segment, category = (
        SegmentLine(by="plan", value="pro", **given),
        CategoryLine(value="billing", **given),
    )
    page = _page("verdict.html", replace(PLANNED, segments=(segment,), categories=(category,)))
    named = re.findall(r'<span class="only-narrow soft">([^<]*) </span>', page)
    for tag in ("Segment", "Category"):
        at = named.index(tag)
        assert named[at : at + 4] == [tag, "Metric", "Candidate", "Candidate minus baseline"]
    assert named[:4] == ["Result", "Candidate", "Baseline", "Acceptable"]


def test_the_verdict_so_far_is_as_of_its_look() -> None:
    assert ", as of the look of day 9 of 14" in _page("score_line.html", PLANNED)


def test_a_report_without_a_plan_is_told_without_looks() -> None:
    document = to_json(PLANNED, sentences)
    del document["plan"]
    line = _page("score_line.html", PLANNED, document)
    assert "score 60 of 100" in line
    assert "look" not in line
