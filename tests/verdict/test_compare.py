"""Candidates beside each other: their order, who is not told apart, and what is warned of."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pages.reports.compare import rendered, to_json
from routing.canary import Arm
from tests.verdict.archived import DAY_S, an_evaluation
from verdict.decision.document import LookLine, Report, ReportWindow, Score, Verdict
from verdict.decision.reports import CandidateStanding, SideBySide, side_by_side
from verdict.details import Details

BASELINE = Arm(provider="openai", model="gpt-4o")


def standing(
    name: str,
    verdict: Verdict = "ship",
    score: tuple[float, float | None, float] = (70, 80, 90),
    **about: Any,
) -> CandidateStanding:
    low, estimate, high = score
    report = replace(
        an_evaluation().report,
        canary=name,
        verdict=verdict,
        score=Score(low=low, estimate=estimate, high=high),
        **about.pop("report", {}),
    )
    arm = Arm(provider="openai", model=f"model-{name}")
    known = {"baseline": BASELINE, "state": "running", **about}
    return CandidateStanding(report=report, candidate=arm, **known)


def names(found: SideBySide) -> list[str]:
    return [each.name for each in found.candidates]


def test_the_order_is_that_of_the_verdicts_then_of_the_scores() -> None:
    found = side_by_side(
        [
            standing("missed", "dont_ship", (80, 90, 95)),
            standing("open", "extend", (10, 40, 99)),
            standing("low", "ship", (40, 50, 60)),
            standing("high", "ship", (70, 80, 90)),
            standing("caveats", "ship_with_caveats", (90, 95, 99)),
            standing("unknown", "extend", (0, None, 100)),
            standing("ideal", "ship_now", (20, 30, 40)),
        ]
    )
    assert names(found) == ["ideal", "high", "low", "caveats", "open", "unknown", "missed"]


def test_scores_whose_intervals_overlap_are_not_told_apart() -> None:
    found = side_by_side(
        [
            standing("a", score=(70, 80, 90)),
            standing("b", score=(60, 65, 72)),
            standing("c", score=(40, 50, 59)),
            standing("d", "extend", (70, 80, 90)),
        ]
    )
    assert found.alike == [("a", "b")]
    assert (found.alike_to("b"), found.alike_to("c")) == (["a"], [])
    assert to_json(found)["warnings"] == []
    for form in ("text", "markdown", "html"):
        text = " ".join(rendered(found, form, width=400).split())
        assert "a and b are not told apart" in text
        assert "The candidates were not compared with each other" in text


def test_different_rubrics_leave_the_common_metrics_and_tell_no_scores_apart() -> None:
    one, other = standing("a", score=(90, 95, 99)), standing("b", score=(10, 20, 30))
    rows = other.report.metrics
    changed = replace(other.report, metrics=rows[:1], rubric_sha256="cd" * 32)
    found = side_by_side([one, replace(other, report=changed)])
    assert found.metrics == ["task_completed"]
    assert found.alike == [("a", "b")]
    (warned,) = to_json(found)["warnings"]
    assert "The rubrics differ" in warned
    assert "1 metric left out: cost_per_request" in warned


def test_one_name_for_two_metrics_is_said_and_not_compared() -> None:
    one, other = standing("a"), standing("b")
    rows = [replace(line, kind="bool", per="session") for line in other.report.metrics[:1]]
    report = replace(other.report, metrics=(*rows, *other.report.metrics[1:]), rubric_sha256="cd" * 32)
    found = side_by_side([one, replace(other, report=report)])
    assert "task_completed" not in found.metrics
    assert not found.one_rubric
    assert to_json(found)["warnings"][0] == (
        "task completed is not one metric: task completed in a and task completed per session in b."
    )


def test_the_same_rows_under_another_plan_are_compared_with_a_warning() -> None:
    one, other = standing("a"), standing("b", score=(10, 20, 30), report={"rubric_sha256": "cd" * 32})
    found = side_by_side([one, other])
    assert (len(found.metrics), found.alike) == (2, [])
    assert to_json(found)["warnings"][0].startswith("The rubrics have the same rows, but different plans")


@pytest.mark.parametrize(
    ("days", "warned"), [((0.0, 9.0), False), ((4.5, 13.5), False), ((4.6, 13.6), True), ((0.0, 4.0), True)]
)
def test_windows_that_overlap_by_less_than_half_are_warned_of(
    days: tuple[float, float], warned: bool
) -> None:
    start, end = (day * DAY_S for day in days)
    window = ReportWindow(
        start=start, end=end, days=days[1] - days[0], whole_days=int(days[1] - days[0]), days_required=7.0
    )
    found = side_by_side([standing("a"), standing("b", report={"window": window})])
    assert (
        any(
            "overlap by less than half of the longer one: a with b." in each
            for each in to_json(found)["warnings"]
        )
        is warned
    )


def test_other_baselines_a_rollback_and_no_traffic_are_warned_of() -> None:
    silent = ReportWindow(start=None, end=None, days=0.0, whole_days=0, days_required=7.0)
    found = side_by_side(
        [
            standing("a", rolled_back=True),
            standing("b", baseline=Arm(provider="openai", model="gpt-5")),
            standing("c", report={"window": silent}),
        ]
    )
    told = " ".join(to_json(found)["warnings"])
    assert "a was rolled back" in told
    assert "The baselines differ" in told
    assert "b against openai/gpt-5" in told
    assert "c has no traffic yet" in told


def test_a_promoted_candidate_and_one_without_a_lane_are_warned_of() -> None:
    refused = standing("c", state="waiting", lane=0.0)
    held = standing("d", state="promoted", held_back=0.02)
    found = side_by_side(
        [standing("a", state="promoted", lane=0.5), standing("b", state="promoted"), refused, held]
    )
    told = " ".join(to_json(found)["warnings"])
    assert "a is promoted: everybody in its lane gets it. b is promoted: everybody gets it." in told
    assert "d is promoted: everybody gets it, but for 2 % who are held back." in told
    assert "c gets no lane: other canaries have all users of these requests." in told
    text = rendered(found, "markdown")
    assert "| ship, promoted |" in text
    assert "| 9.0 | none |" in text


def test_the_json_has_each_candidate_with_its_own_intervals() -> None:
    found = side_by_side([standing("a", lane=1 / 3), standing("b", report={"details": Details()})])
    document = json.loads(rendered(found, "json"))
    assert document == json.loads(json.dumps(to_json(found)))
    one, other = document["candidates"]
    assert (one["canary"], one["verdict"], one["lane"], other["lane"]) == ("a", "ship", 1 / 3, None)
    assert one["candidate"] == {"provider": "openai", "model": "model-a"}
    assert one["score"] == {"low": 70, "estimate": 80, "high": 90}
    assert one["saved_usd_a_month"] == {"low": None, "estimate": 50_000.0, "high": 60_000.0}
    assert other["saved_usd_a_month"] is None
    assert [line["metric"] for line in one["metrics"]] == document["metrics"]
    assert one["metrics"][0]["difference"] == {"low": -0.04, "estimate": -0.02, "high": 0.0, "p_value": 0.2}
    assert (one["not_told_apart_from"], document["not_told_apart"]) == (["b"], [["a", "b"]])


def test_a_row_shows_the_mark_the_difference_and_its_interval() -> None:
    found = side_by_side([standing("a", lane=0.25), standing("b|<i>")])
    text = rendered(found, "markdown")
    assert "| a | ✓ −2.0 points (−4.0 to +0.0 points) | ✓ −$0.0050 (−$0.0060 to −$0.0040) |" in text
    assert "| a | openai/model-a | ship | 80 (70 to 90) | 600 against 5,400 | 9.0 | 25 % |" in text
    assert "b&#124;" in text
    assert "<i>" not in rendered(found, "html").replace("</i>", "")
    report: Report = found.candidates[0].report
    assert report.canary == "a"


def at_risk(name: str, *p: float, verdict: Verdict = "ship") -> CandidateStanding:
    """A candidate whose rows have looks that passed at these risks, of 5 % each."""
    look = LookLine(day=14, low=0.0, high=1.0, p=0.0, risk=0.05, boundary=1.8, chance=1.0)
    lines = an_evaluation().report.metrics
    rows = tuple(replace(lines[n], look=replace(look, p=each)) for n, each in enumerate(p))
    return standing(name, verdict, report={"metrics": rows})


def test_several_candidates_share_one_risk() -> None:
    """Sorted: .001 ≤ .05/4, .012 ≤ .05/3, .04 > .05/2; the open one ships nowhere."""
    last = at_risk("d", 0.9, verdict="extend")
    found = side_by_side([at_risk("a", 0.001), at_risk("b", 0.004, 0.012), at_risk("c", 0.04), last])
    assert found.any_ships == pytest.approx(1 - 0.95**4)
    assert found.by_chance() == ["c"]
    assert to_json(found)["ship_by_chance"] == ["c"]
    text = " ".join(rendered(found, "text", width=400).split())
    assert "One candidate exactly at its bounds ships in at most 5" in text
    assert "any of these 4 does in up to 18.5" in text
    assert "c ships by that risk alone, and not if it is shared among 4 candidates" in text
    assert side_by_side([at_risk("a", 0.001), at_risk("b", 0.024)]).by_chance() == []


def test_without_a_plan_no_chance_is_told() -> None:
    found = side_by_side([standing("a"), standing("b")])
    assert (found.any_ships, found.by_chance()) == (None, [])
    assert "in up to" not in rendered(found, "text", width=400)
