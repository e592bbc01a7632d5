"""The report on the page of one canary: what the plan's looks leave possible, and how far the plan is."""

import re
from dataclasses import replace
from typing import Any

from console.access.session import Person
from console.rendering import Templates
from pages.status.verdict_so_far import verdict_so_far
from pages.words import plan, verdict
from pages.words.figures import bound_words, title
from pages.words.gains import known_of_answers
from pages.words.reasons import sentences
from tests.console.test_where_on_page import values_of
from tests.verdict.planned import look_line, metric_line, planned_report
from verdict.decision.document import Difference, PartLine, Report, to_json

PLANNED = planned_report(metric_line(look_line(9, -0.03, 0.04)), day=9)


def page_values(report: Report, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the report's pages take, of one canary."""
    return {
        "canary": {"name": "support-nov"},
        "form_token": "",
        "person": Person(role="operator"),
        "report": to_json(report, sentences) if document is None else document,
        "whole": report,
        "reasons": sentences(report),
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
    assert "<li>Open.</li>" in page
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
        PartLine(by="plan", value="pro", **given),
        PartLine(by=None, value="billing", **given),
    )
    page = _page("verdict.html", replace(PLANNED, segments=(segment,), categories=(category,)))
    named = re.findall(r'<span class="only-narrow soft">([^<]*) </span>', page)
    for tag in ("Segment", "Category"):
        at = named.index(tag)
        assert named[at : at + 4] == [tag, "Metric", "Candidate", "Candidate minus baseline"]
    assert named[:4] == ["Result", "Candidate", "Baseline", "Acceptable"]


def test_the_verdict_so_far_is_as_of_its_look_with_each_row_s_chance() -> None:
    found = verdict_so_far(to_json(PLANNED, sentences))
    assert (found.day, found.word, found.score) == ("9 of 14", "Extend", "60 of 100 (20 to 90)")
    assert found.as_of == "as of the look of day 9 (2026-11-11, 00:00 UTC)"
    assert found.next_look == "Thu 12 Nov, day 10"
    assert (found.decides, found.ships) == ("Mon 16 Nov, day 14", "40 %")
    assert [(row.name, row.words) for row in found.rows] == [("Task completed", "40 %")]


def test_a_run_that_is_over_has_no_chances_and_no_next_look() -> None:
    found = verdict_so_far(to_json(PLANNED, sentences))
    passed = replace(found.rows[0], name="Cost", words="passed", chance=None)
    over = replace(found, rows=[*found.rows, passed]).over(rolled_back=False)
    assert (over.rows, over.next_look, over.decides, over.day) == ([passed], "", "", "9 of 14")
    shown = Templates().text("figures.html", values_of() | {"verdict": over, "whole": False})
    assert not re.search("Chance|Next look|Decides about", shown)
    assert "passed" in shown
    assert (over.word, over.over(rolled_back=True).word) == ("Extend", "Don't ship")


def test_a_report_without_a_plan_is_told_without_looks() -> None:
    document = to_json(PLANNED, sentences)
    del document["plan"]
    found = verdict_so_far(document)
    assert (found.day, found.as_of, found.next_look) == ("", "", "")
    assert found.score == "60 of 100 (20 to 90)"


def test_what_a_month_saves_is_told_with_its_interval_and_not_where_it_may_be_either() -> None:
    document = to_json(PLANNED, sentences)
    assert verdict_so_far(document).saving == "–"
    document["details"]["savings"] = {"monthly": {"low": 900.0, "estimate": 1240.0, "high": 1600.0}}
    found = verdict_so_far(document)
    assert (found.saving, found.saving_between) == ("$1,240", "$900 to $1,600")
    document["details"]["savings"]["monthly"]["low"] = -50.0
    assert verdict_so_far(document).saving == "none seen"


def test_the_misses_have_the_names_that_a_decision_gives_them() -> None:
    (missed,) = PLANNED.metrics
    document = to_json(replace(PLANNED, metrics=(replace(missed, state="FAIL"),)), sentences)
    document["categories"] = [{"value": "refund", "metric": "csat", "state": "WORSE", "blocks": True}]
    document["segments"] = [
        {"by": "plan", "value": "pro", "metric": "csat", "state": "TOO_FEW", "blocks": True}
    ]
    assert [(each.name, each.words) for each in verdict_so_far(document).misses] == [
        (missed.metric, "Task completed missed"),
        ("category:refund", "Category refund is worse (satisfaction)"),
        ("segment:plan=pro", "Plan pro has too few users (satisfaction)"),
    ]


def test_a_promotion_s_dialog_says_the_verdict_the_saving_and_the_critical_parts() -> None:
    document = to_json(PLANNED, sentences)
    document["categories"] = [{"value": "refund", "metric": "csat", "state": "TOO_FEW", "blocks": True}]
    document["details"]["savings"] = {"monthly": {"low": 900.0, "estimate": 1240.0, "high": 1600.0}}
    found = verdict_so_far(document)
    assert found.ships == "at most 40 %", "nobody knows when the category has enough"
    values = {"canary": {"name": "support-nov"}, "verdict": found}
    text = Templates().text("advice.html", values)
    assert "<b>extend</b>" in text
    assert "<b>$1,240</b> ($900 to $1,600)" in text
    assert "Critical parts: category refund has too few users (satisfaction)" in text
