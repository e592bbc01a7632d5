"""What a person who decides reads first: money at what quality, layers, what is missing, ways to fail."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.interval import Range
from judge.judgements import RunJudgements
from pages import charts
from pages.charts import density_plot
from pages.reports.report import rendered
from pages.words import gains, verdict
from pages.words.plan import next_steps
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN, parse_bound
from tests.verdict.judged import label, pair
from verdict.decision.document import ArmModel, ArmModels, Report, Units, Verdict, from_json, to_json
from verdict.decision.verdict import build
from verdict.details import UnknownCosts
from verdict.rows.reasons import StoredReason
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary, RunRolledBack
from verdict.terms.rubric import Criterion

Log = Callable[[Any], Path]
FORMS = ("html", "markdown", "text")


@pytest.fixture(scope="module")
def cheaper(write_log: Log, world: type[Any], canary: JudgedCanary, now: float) -> Report:
    return build(from_csv(write_log(world(cost_usd=(0.04, 0.024)))), canary, now=now)


@pytest.fixture(scope="module")
def slower(write_log: Log, world: type[Any], canary: JudgedCanary, now: float) -> Report:
    log = write_log(world(latency_s=(0.4, 1.6), worse_in={"billing": 0.2}, errors=(0.004, 0.05)))
    return build(from_csv(log), replace(canary, critical_categories=frozenset({"billing"})), now=now)


def _plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_is_saved_and_at_what_quality(cheaper: Report, form: str) -> None:
    assert gains.in_short(cheaper).startswith("39 % cheaper at equal quality: expected at full rollout are $")
    assert "39 % cheaper at equal quality" in _plain(rendered(cheaper, form, width=200))
    assert "less in the first year ($" in _plain(rendered(cheaper, form, width=200))


def test_worse_quality_is_named_and_an_undecided_one_is_not_called_equal(
    cheaper: Report, slower: Report
) -> None:
    assert "at lower quality (task completed)" in gains.in_short(replace(slower, verdict="ship_with_caveats"))
    open_ = tuple(
        replace(line, state="INCONCLUSIVE") if line.metric == "csat" else line for line in cheaper.metrics
    )
    assert "with quality undecided" in gains.in_short(replace(cheaper, metrics=open_))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verdict", ["dont_ship", "extend"])
def test_over_a_verdict_that_does_not_ship_the_headline_is_its_reason_and_told_once(
    cheaper: Report, form: str, verdict: Verdict
) -> None:
    why = "This run was rolled back by ann: refunds."
    held = replace(
        cheaper, verdict=verdict, reasons=(StoredReason(words=why), StoredReason(words="Ideal: error rate."))
    )
    text = _plain(rendered(held, form, width=200))
    assert gains.in_short(held) == why
    assert "equal quality" not in text
    assert "cheaper" not in text
    assert text.count(why) == 1


@pytest.mark.parametrize("form", FORMS)
def test_no_saving_is_told_while_costs_are_unknown(cheaper: Report, form: str) -> None:
    unknown = UnknownCosts(candidate=0.045, baseline=0.0)
    changed = replace(cheaper, details=replace(cheaper.details, unknown_costs=unknown))
    text = _plain(rendered(changed, form, width=200))
    assert (
        "Cost at equal quality cannot be compared: it is unknown for 4.5 % of the candidate’s answered "
        "requests and 0.0 % of the baseline’s." in text
    )
    assert "first year" not in text
    assert "% cheaper" not in text


def test_a_difference_in_cost_that_may_be_none_is_said_to_be_so(cheaper: Report) -> None:
    money = cheaper.details.money
    assert money is not None
    unsure = replace(
        money,
        change=Range(low=-0.02, estimate=0.01, high=0.04),
        difference_usd=Range(low=-200.0, estimate=100.0, high=400.0),
        priced=0.8,
    )
    said = gains.in_short(replace(cheaper, details=replace(cheaper.details, money=unsure)))
    assert said.startswith(
        "No difference in cost seen at equal quality: expected at full rollout are −$200 to +$400 in the "
        "first month and −$2,433 to +$4,867 in the first year"
    )
    assert "20 % of requests have no known price" in said


@pytest.mark.parametrize("form", FORMS)
def test_every_form_names_both_models_and_their_entries_where_these_differ(
    cheaper: Report, form: str
) -> None:
    old, new = ArmModel(provider="openai", model="gpt-4o"), ArmModel(provider="openai", model="gpt-5")
    alike = replace(cheaper, models=ArmModels(baseline=old, candidate=new))
    assert "gpt-4o → gpt-5" in _plain(rendered(alike, form, width=200))
    elsewhere = replace(alike, models=ArmModels(baseline=old, candidate=replace(new, provider="azure")))
    assert "openai/gpt-4o → azure/gpt-5" in _plain(rendered(elsewhere, form, width=200))
    assert "→ gpt" not in _plain(rendered(replace(cheaper, models=None), form, width=200))
    assert from_json(to_json(elsewhere, sentences)).models == elsewhere.models
    assert "models" not in to_json(replace(cheaper, models=None), sentences)


@pytest.mark.parametrize("form", FORMS)
def test_a_value_of_too_few_users_is_called_that(cheaper: Report, form: str) -> None:
    first, *others = cheaper.metrics

    def of(candidate: float | None) -> Report:
        line = replace(first, state="NODATA", candidate=candidate)
        return replace(cheaper, metrics=(line, *others))

    few, none = of(0.9), of(None)
    assert verdict.mark(few.metrics[0], few) == ("–", "Too few users")
    assert "Too few users" in _plain(rendered(few, form, width=200))
    assert verdict.mark(none.metrics[0], none) == ("–", "No data")
    assert "Too few users" not in _plain(rendered(none, form, width=200))
    assert to_json(few, sentences)["metrics"][0]["state"] == "NODATA"


def test_layers_that_were_not_run_or_not_asked_say_so(cheaper: Report) -> None:
    says = {layer.name: layer.says for layer in gains.layers(cheaper)}
    assert says["Synthetic benchmarks"] == says["Benchmarks on real-world tasks"] == "Not run."
    assert "✓✓ satisfaction" in says["User experience"]
    assert says["Business"] == "✓✓ cost per request"
    none = replace(cheaper, metrics=cheaper.metrics[:2])
    assert {layer.name: layer.says for layer in gains.layers(none)}["Business"].startswith(
        "Not measured: the rubric"
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_metric_that_cannot_have_matured_is_not_measurable_in_this_window(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float, form: str
) -> None:
    churn = Criterion(
        metric="churn", acceptable=parse_bound("< 5%"), ideal=parse_bound("< 2%"), weight=1, question="?"
    )
    late = {**BUILT_IN, "churn": replace(BUILT_IN["churn"], matures_after_s=30 * 86400.0)}
    report = build(
        from_csv(write_log(world())),
        replace(canary, criteria=(*canary.criteria, churn), metrics=late),
        now=now,
    )
    assert report.metrics[-1].state == "NODATA"
    assert verdict.mark(report.metrics[-1], report) == ("–", "Not measurable in this window")
    assert "Not measurable in this window" in _plain(rendered(report, form, width=200))
    assert "Churn: values are complete 30 days after a user’s first request." in next_steps(report)
    assert any(step.startswith("Time: ") for step in next_steps(report))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_names_ways_to_fail(slower: Report, form: str) -> None:
    text = _plain(rendered(slower, form, width=200))
    assert "the provider returned a server error" in text
    assert "bad feedback: task completed, in billing" in text


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_what_failed_can_be_looked_up(slower: Report, form: str) -> None:
    failures = slower.details.failures
    assert failures is not None
    assert failures.modes[0].examples[0] in rendered(slower, form, width=200)


def test_a_mismatched_split_is_the_first_thing_to_mend(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = build(from_csv(write_log(world())), replace(canary, shares={0: 0.13}), now=now)
    assert next_steps(report)[0].startswith("Split: ")


def test_a_miss_comes_before_what_is_only_open(slower: Report) -> None:
    steps = next_steps(slower)
    assert steps[0].startswith("Latency p95: a candidate that is under 2s")
    assert any(step.startswith("Category billing: a candidate that is not worse there") for step in steps)


def test_whoever_is_told_not_to_ship_is_told_only_what_would_change_that(slower: Report) -> None:
    steps = next_steps(slower)
    open_ = [line.metric for line in slower.metrics if line.state in ("INCONCLUSIVE", "PASS")]
    assert open_, "a row that more evidence could move, and the verdict with it not"
    assert not [step for step in steps if "more candidate users" in step]
    assert steps[-1].startswith("Or, unless the run was rolled back, a person outweighs")


def test_a_run_that_was_only_rolled_back_says_how_to_go_on(cheaper: Report, slower: Report) -> None:
    steps = next_steps(replace(cheaper, verdict="dont_ship"))
    assert steps[0].startswith("The run was rolled back: resume it")
    blocked = replace(slower, srm=replace(slower.srm, blocked=True))
    assert not [step for step in next_steps(blocked) if "a person" in step], "no one outweighs a broken split"


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_a_rollback_without_a_miss_is_not_called_a_failure_of_the_candidate(
    cheaper: Report, slower: Report, form: str
) -> None:
    """A person rolls it back: after a while in which no row missed, or before any user had the candidate."""
    back = replace(cheaper, verdict="dont_ship", reasons=(RunRolledBack(who="ann", why="enough"),))
    unasked = replace(back, units=Units(baseline=40, candidate=0))
    assert "No criterion has failed: what follows decides." in rendered(back, form)
    for report in (back, unasked):
        assert "fails" not in rendered(report, form).partition("rolled back by ann")[0]
    assert "No user has had the candidate" in rendered(unasked, form)
    assert "The candidate fails on at least one deciding point." in rendered(slower, form)


def test_years_of_waiting_are_not_given_as_advice(cheaper: Report) -> None:
    line = replace(cheaper.metrics[0], state="INCONCLUSIVE", units_needed=188_000, days_needed=2649.0)
    steps = next_steps(replace(cheaper, verdict="extend", metrics=(line,)))
    assert "about 7 years at this traffic, too long to wait; a larger share" in steps[0]


def test_what_would_change_the_verdict_is_on_the_first_card(slower: Report) -> None:
    card = rendered(slower, "html").split("</section>")[0]
    assert "What would change the verdict" in card
    assert "a candidate that is under 2s" in card


def test_a_caveat_says_where_and_by_how_much(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = build(from_csv(write_log(world(worse_in={"billing": 0.12}, users=9000))), canary, now=now)
    (caveat,) = [reason for reason in sentences(report) if "category billing" in reason]
    assert re.search(r"in .*category billing \(−\d+\.\d to −\d+\.\d points\)\.$", caveat)


def test_a_curve_stays_in_its_frame_and_its_band_around_it(slower: Report) -> None:
    drawn = charts.curves(slower)
    assert [each.title for each in drawn][:2] == ["Task completed", "Latency p95"]
    for each in drawn:
        assert each.dots[0][0] < each.dots[-1][0]
        assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in each.dots)
        assert 0 < each.zero < charts.HEIGHT
    slow = drawn[1]
    assert slow.dots[-1][1] < slow.zero, "slower is drawn above the line"
    assert slow.good.text == "↓ better"


def test_an_unbounded_band_reaches_the_frame(slower: Report) -> None:
    course = slower.details.over_time[0]
    points = (replace(course.points[0], high=None), *course.points[1:])
    open_ = replace(slower.details, over_time=(replace(course, points=points),))
    (drawn,) = charts.curves(replace(slower, details=open_))
    assert "None" not in drawn.band
    assert "no upper limit" in drawn.alternative


def test_the_slower_arms_median_stands_further_right(slower: Report) -> None:
    (drawn,) = map(density_plot, slower.details.spreads)
    baseline, candidate = drawn.medians
    assert baseline.at < candidate.at
    assert [tick.at for tick in drawn.seconds] == sorted(tick.at for tick in drawn.seconds)
    assert {"0.5 s", "1 s", "2 s"} <= {tick.text for tick in drawn.seconds}


@pytest.mark.parametrize(("responds", "said"), [((0.8, 0.0), True), ((0.0, 0.0), True), ((0.0, 0.8), False)])
def test_every_form_says_where_nobody_has_read_the_candidate_s_answers(
    write_log: Log,
    world: type[Any],
    canary: JudgedCanary,
    now: float,
    responds: tuple[float, float],
    said: bool,
) -> None:
    report = build(from_csv(write_log(world(users=1200, responds=responds))), canary, now=now)
    sentence = (
        "Nobody has read the candidate's answers: text that refuses, wrong language, invention are not seen "
        "without feedback or a judge."
    )
    assert [reason == sentence for reason in sentences(report)].count(True) == said
    for form in FORMS:
        assert (
            sentence in _plain(rendered(report, form, width=200)).replace("&#39;", "'").replace("&#x27;", "'")
        ) == said


def test_a_judge_or_a_person_who_labels_has_read_the_candidate_s_answers(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    sample = from_csv(write_log(world(users=1200, responds=(0.0, 0.0))))
    start = float(sample.first_at.min())
    read = pair(1, 1.0, at=start)
    for judging, said in (
        (RunJudgements(), True),
        (RunJudgements(exchanges=(replace(read, result=""),)), True),
        (RunJudgements(exchanges=(read,)), False),
        (RunJudgements(labels=(label(1, "b", at=start + 60),)), False),
        (RunJudgements(labels=(label(1, "b", at=start - 60),)), True),  # of an earlier run
    ):
        report = build(replace(sample, judged=judging), canary, now=now)
        assert any(reason.startswith("Nobody has read") for reason in sentences(report)) == said
