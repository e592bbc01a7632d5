"""What a head of product reads of a plan: its days, its risk in one sentence, what is to come for a row."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from pages.charts import BAR_WIDTH, HEIGHT, bar, look_charts
from pages.reports.report import rendered
from pages.words import gains, plan
from pages.words.plan import next_steps
from pages.words.reasons import sentence, sentences, still_open
from records.store.drift import ModelChange
from tests.verdict.planned import look_line as _look
from tests.verdict.planned import metric_line as _line
from tests.verdict.planned import planned_report as _report
from verdict.decision.document import Difference, LookLine, from_json, to_json
from verdict.decision.plan_course import outlook, taken_risk
from verdict.details import Details
from verdict.rows.reasons import GroundMoved
from verdict.rows.row import State
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

FORMS = ("html", "markdown", "text")

OPEN = _line(_look(8, -0.03, 0.04))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_day_the_risk_and_which_look_decides(form: str) -> None:
    text = _plain(rendered(_report(OPEN, day=9), form))
    assert "Day 9 of 14; looks each night from day 7 on may ship; next look tonight." in text
    assert "Of 100 candidates exactly at a bound, at most 5 would ship on it; of worse ones, fewer." in text
    assert "As of the look of day 9 (11 Nov 2026, 00:00 UTC); next look tonight." in text
    assert "any time" in text


def test_the_risk_is_told_before_the_criteria_on_the_first_card() -> None:
    card = rendered(_report(OPEN, day=9), "html").split("</section>")[0]
    assert "at most 5 would ship on it" in card
    assert "Day 9 of 14" in card


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (0, "Day 0 of 14; a look each night can stop the candidate, from day 7 on also ship it; first look"),
        (
            4,
            "Day 4 of 14; a look each night can stop the candidate, from day 7 on also ship it; next look to",
        ),
        (14, "Day 14 of 14; extended to day 28 at most, for what is still open; next look: day 21, 23 Nov"),
        (28, "The plan of 14 days and its extension to day 28 are over; no further look."),
    ],
)
def test_the_plan_says_where_it_stands(day: int, words: str) -> None:
    assert plan.plan_line(_report(OPEN, day=day)).startswith(words)


def test_a_run_that_is_over_has_no_further_look_though_its_plan_has() -> None:
    report = _report(OPEN, day=9)
    assert report.plan is not None
    over = replace(report, plan=replace(report.plan, next_look=None))
    assert plan.plan_line(over) == "Day 9 of 14; the run is over, so there is no further look."
    assert "Chance" not in plan.row_outlook(OPEN, over)


def test_a_look_is_only_tonight_while_there_is_traffic() -> None:
    silent = _report(OPEN, day=9, ended=timedelta(hours=-1))
    assert plan.heading(silent).endswith("next look: day 10, 12 Nov 2026 at the earliest.")


@pytest.mark.parametrize(
    ("risk", "words"),
    [
        (0.025, "Of 1,000 candidates exactly at a bound, at most 25 would"),
        (0.5, "Of 100 candidates exactly at"),
    ],
)
def test_a_risk_is_told_in_whole_candidates(risk: float, words: str) -> None:
    report = _report(replace(OPEN, look=replace(_look(8, -0.03, 0.04), risk=risk)), day=9)
    assert report.plan is not None
    assert plan.rests_on(replace(report, plan=replace(report.plan, risk=risk))).startswith(words)


def test_a_row_with_a_risk_of_its_own_is_named_and_a_miss_rests_on_the_risk_to_refuse() -> None:
    light = _line(replace(_look(8, -0.1, 0.2), risk=0.2), metric="latency_p95")
    assert "at most 5 would ship on it (20 on latency p95)" in plan.rests_on(_report(OPEN, light, day=9))
    missed = _report(_line(_look(8, -0.1, -0.02, p=1.0, chance=0.0), "FAIL"), day=9)
    assert plan.rests_on(missed) == "Of 100 candidates exactly at all bounds, at most 5 would be refused."


@pytest.mark.parametrize(
    ("state", "p", "day", "words"),
    [
        ("PASS", 0.038, 8, "Passes at a risk of 3.8 %; 5 % is allowed."),
        ("IDEAL", 1e-6, 8, "Passes at a risk of under 0.01 %; 5 % is allowed."),
        ("FAIL", 1.0, 8, "Ruled out: every value that is still possible misses the bound."),
        (
            "INCONCLUSIVE",
            0.12,
            8,
            "Passing now would take a risk of 12 %; 5 % is allowed. Chance to pass by day",
        ),
        ("INCONCLUSIVE", 0.0501, 8, "Passing now would take a risk of just over 5 %; 5 % is allowed."),
        ("INCONCLUSIVE", 1.0, 5, "Chance to pass by day 14: 40 %; 80 % likely within 3 more days."),
        (
            "INCONCLUSIVE",
            1.0,
            15,
            "Passing now would take a risk of over 50 %; 5 % is allowed. Chance to pass by d",
        ),
        ("NODATA", 1.0, 8, ""),
    ],
)
def test_a_row_s_outlook_never_contradicts_its_state(state: State, p: float, day: int, words: str) -> None:
    line = _line(_look(day, -0.03, 0.04, p=p), state)
    report = _report(line, day=day)
    assert plan.row_outlook(line, report).startswith(words)
    cell = plan.chance_cell(line, report)
    assert (cell == "passed") == (state in ("PASS", "IDEAL"))


def test_a_row_that_waits_for_costs_promises_no_chance() -> None:
    report = _report(OPEN, day=9)
    waiting = replace(report, details=replace(report.details, unpriced=("task_completed",)))
    assert plan.row_outlook(OPEN, waiting).startswith("Open until its missing costs are known")
    assert plan.chance_cell(OPEN, waiting) == "costs missing"


def test_after_the_planned_days_chances_are_those_of_the_extension() -> None:
    assert plan.chance_by(_report(OPEN, day=13)) == "chance by day 14"
    assert plan.chance_by(_report(OPEN, day=14)) == "chance by day 28"


def test_the_thick_bar_is_what_the_looks_leave_possible_and_the_thin_line_the_live_interval() -> None:
    drawn = bar(_line(_look(8, -0.03, 0.04)))
    assert drawn is not None
    assert drawn.planned
    assert drawn.decides is not None
    assert drawn.live is not None
    assert 0 < drawn.decides.low < drawn.acceptable.x < drawn.decides.high < BAR_WIDTH
    assert drawn.live.low < drawn.decides.low
    assert "as of the look of day 8 82.0 % to 89.0 %, any-time interval 77.4 %" in drawn.alternative


def test_before_the_first_look_that_may_ship_the_better_side_is_bounded_and_the_other_open() -> None:
    slower = bar(_line(_look(4, None, 0.8), metric="latency_p95"))
    assert slower is not None
    assert slower.decides is not None
    assert (slower.decides.open_low, slower.decides.open_high) == (False, True)
    assert "1.20 s or more" in slower.alternative
    unseen = bar(
        _line(LookLine(day=None, low=None, high=None, p=None, risk=0.05, boundary=None, chance=None))
    )
    assert unseen is not None
    assert unseen.decides is None
    assert "nothing ruled out by a look" in unseen.alternative


def test_over_time_there_is_one_bar_per_look() -> None:
    report = _report(OPEN, _line(_look(9, -0.1, 0.2), metric="latency_p95"), day=9)
    charts = look_charts(report)
    assert [chart.title for chart in charts] == ["Task completed", "Latency p95"]
    for chart in charts:
        assert len(chart.bars) == 9
        assert all(0 <= each.top <= each.middle <= each.bottom <= HEIGHT for each in chart.bars)
        assert chart.bars[0].x < chart.first < chart.bars[-1].x
        assert chart.alternative in rendered(report, "html")
    up, down = charts
    assert [each.open_bottom for each in up.bars] == [True] * 6 + [False] * 3
    assert [each.open_top for each in down.bars] == [True] * 6 + [False] * 3
    assert (up.good.text, down.good.text) == ("↑ better", "↓ better")


def test_the_day_on_which_a_model_changed_under_its_name_is_marked() -> None:
    report = _report(OPEN, day=9)
    change = ModelChange(model="openai/m", kind="model_changed", before="m-1", now="m-2", at=0.0)
    moved = [GroundMoved(arm="baseline", change=change, day=day) for day in (5, 99)]
    (chart,) = look_charts(replace(report, reasons=(*report.reasons, *moved)))
    (place,) = chart.moved
    assert chart.bars[3].x < place < chart.bars[4].x
    assert look_charts(report)[0].moved == ()


def test_a_look_at_0_or_more_keeps_the_bound() -> None:
    report = _report(OPEN, day=9)
    (course,) = report.details.looks
    kept = replace(course, points=(*course.points[:-1], replace(course.points[-1], low=0.0)))
    (chart,) = look_charts(replace(report, details=Details(looks=(kept,))))
    assert [each.kept for each in chart.bars[-2:]] == [None, True]


def test_what_a_row_needs_is_told_by_the_plan_and_not_by_the_sequence() -> None:
    steps = next_steps(_report(OPEN, replace(OPEN, metric="helped", days_needed=None), day=8))
    assert steps[0] == "Task completed: likely to pass within 3 more days."
    assert steps[1] == (
        "“did this help?”: chance to pass by day 14: 40 %; higher for a candidate further within the bound, "
        "or a larger share."
    )
    assert not [step for step in steps if "more candidate users" in step]
    hopeless = replace(OPEN, look=_look(8, -0.03, 0.04, chance=0.03), days_needed=None)
    assert "not likely: chance to pass by day 14: 3 %" in next_steps(_report(hopeless, day=8))[0]


@pytest.mark.parametrize("state", ["INCONCLUSIVE", "NODATA"])
def test_after_the_last_look_only_a_new_canary_helps(state: State) -> None:
    (step,) = next_steps(_report(replace(OPEN, state=state), day=28))
    assert step == (
        "Task completed: no look is to come; start a new canary, under a new name, with a larger share."
    )


def test_a_row_is_ideal_by_what_the_looks_leave_possible() -> None:
    passed = replace(_report(replace(OPEN, state="PASS"), day=8), verdict="ship")
    assert next_steps(passed) == [
        "Task completed: ideal once all that the looks leave possible is at least 90%."
    ]
    assert next_steps(replace(_report(replace(OPEN, state="PASS"), day=28), verdict="ship")) == []


@pytest.mark.parametrize("form", FORMS)
def test_extend_says_when_the_planned_day_and_what_follows(form: str) -> None:
    text = _plain(rendered(_report(OPEN, day=9), form))
    decides = "next look tonight. Decides about Mon 16 Nov, day 14; chance to ship by then: "
    assert decides in text
    assert "What is still open on day 14, the planned day, is extended to day 28." in text
    assert "is extended to day" not in _plain(rendered(_report(OPEN, day=14), form))
    assert "is extended to day" not in _plain(rendered(replace(_report(OPEN, day=9), verdict="ship"), form))


MISSED = replace(
    _line(_look(9, -0.012, -0.002), state="FAIL"),
    acceptable=">= baseline - 0.5pp",
    candidate=0.85,
    difference=Difference(low=-0.03, estimate=-0.01, high=0.01, p_value=0.4),
)


def test_a_missed_bound_against_the_baseline_is_worse_and_not_without_a_difference() -> None:
    report = replace(_report(MISSED, day=9), verdict="dont_ship")
    assert gains.changes(report) == ["Worse: task completed (1.0 points lower)."]
    assert "1.0 points lower, worse by the looks (−3.0 to +1.0 points at any time)" in rendered(
        report, "html"
    )


def test_a_miss_that_shows_no_difference_is_told_as_a_miss() -> None:
    for missed in (
        replace(MISSED, acceptable=">= 86%"),
        replace(MISSED, acceptable=">= baseline + 2pp"),
    ):
        (found,) = gains.changes(replace(_report(missed, day=9), verdict="dont_ship"))
        assert found == (
            "Misses its bound, but is not shown to differ from the current model: task completed."
        )


def test_how_to_read_names_the_range_that_decides() -> None:
    for form in ("html", "markdown"):
        text = _plain(rendered(_report(OPEN, day=9), form))
        assert "What the looks leave possible decides" in text
        assert "whole interval" not in text


def test_an_open_row_says_what_it_may_be_and_its_chance() -> None:
    plan = _report(OPEN, day=8).plan
    assert plan is not None
    assert still_open(OPEN, plan) == (
        "Task completed is undecided against “>= 85%”: 86.0 %; as of the look of day 8 it may be 82.0 % to "
        "89.0 %. Chance to pass by day 14: 40 %."
    )
    before = _report(OPEN, day=4).plan
    assert before is not None
    assert still_open(replace(OPEN, acceptable=">= baseline - 3pp"), before) == (
        "Task completed is open until day 7, the first on which a look may ship: now 86.0 %, against “>= "
        "baseline - 3pp” (now 83.0 %). Chance to pass by day 14: 40 %."
    )


def test_a_hopeless_plan_says_so_only_once_it_may_ship() -> None:
    hopeless = replace(OPEN, look=_look(8, -0.03, 0.04, chance=0.001, halfway=0.004))
    unlikely = replace(OPEN, look=_look(8, -0.03, 0.04, chance=0.004))
    report = _report(OPEN, day=8)
    (reason,) = outlook(report.plan, [OPEN, hopeless])
    found = sentence(reason, report)
    assert found.startswith("Will not be decided in its favour; stop or extend on purpose: even if its true ")
    assert "task completed would pass by day 28 with a chance of under 1 %" in found
    assert outlook(report.plan, [unlikely]) == [], "a halfway candidate may still pass"
    assert outlook(_report(OPEN, day=4).plan, [hopeless]) == []
    assert to_json(replace(report, metrics=(hopeless,)), sentences)["metrics"][0]["look"]["halfway"] == 0.004


def test_a_high_risk_is_told_as_fixed_beforehand() -> None:
    rows = [
        Criterion(
            metric=m, acceptable=parse_bound(">= 1%"), ideal=parse_bound(">= 2%"), weight=1, question="?"
        )
        for m in ("helped", "thumbs")
    ]
    light = JudgedCanary(name="x", criteria=[replace(rows[0], risk=0.2), rows[1]], planned_days=14)
    caveat = sentence(*taken_risk(light), _report(OPEN, day=8))
    assert "A candidate exactly at the bound ships 2 times in 10; one that misses it by 0.7" in caveat
    assert "thumbs" not in caveat
    assert taken_risk(replace(light, criteria=rows)) == []
    flags = replace(light, criteria=rows, risk=0.5)
    assert "ships 5 times in 10" in sentence(*taken_risk(flags), _report(OPEN, day=8))


def test_a_report_without_a_plan_has_none_of_it() -> None:
    document = to_json(_report(OPEN, day=9), sentences)
    del document["plan"], document["details"]["looks"]
    for line in document["metrics"]:
        del line["look"]
    old = from_json(document)
    assert (plan.plan_line(old), plan.heading(old), plan.rests_on(old)) == ("", "", "")
    for form in FORMS:
        text = _plain(rendered(old, form))
        assert "look" not in text.replace("even if you look at", "")
        assert "95 % interval" in text
