"""Evaluations as they are kept, and what many of them tell together."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from common.interval import Range
from pages.words import archive as words
from pages.words.reasons import sentences
from tests.verdict.archived import DAY_S, a_line, a_release, an_evaluation
from verdict.archive.evaluations import (
    BadEvaluation,
    Evaluation,
    Event,
    Model,
    from_document,
    parse,
    to_document,
    to_line,
)
from verdict.archive.trends import pearson, quality_line, runs_of, spearman, to_json, trends
from verdict.decision.document import Difference, vendor
from verdict.details import Details, EvaluationCost, UnknownCosts


def test_an_evaluation_comes_back_as_it_was_kept() -> None:
    one, other = an_evaluation(1), replace(an_evaluation(2, synthetic=83.5), baseline=None, candidate=None)
    assert from_document(json.loads(json.dumps(to_document(one, sentences)))) == one
    assert parse(f"{to_line(one, sentences)}\n\n{to_line(other, sentences)}\n") == [one, other]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"report": None}, "not an evaluation"),
        ({"event": "guessed"}, "event must be one of ended, promoted, rolled_back, decided"),
        ({"synthetic": 830}, "a score from 0 to 100"),
        ({"at": "yesterday"}, "yesterday"),
    ],
)
def test_what_is_no_evaluation_is_refused_with_its_line(change: dict[str, object], complaint: str) -> None:
    good = to_document(an_evaluation(), sentences)
    text = f"{json.dumps(good)}\n{json.dumps({**good, **change})}"
    with pytest.raises(BadEvaluation, match="line 2") as refused:
        parse(text)
    assert complaint in str(refused.value)


def test_a_missing_part_is_named() -> None:
    document = to_document(an_evaluation(), sentences)
    del document["canary"]
    with pytest.raises(BadEvaluation, match="'canary' is missing"):
        from_document(document)


def test_a_run_counts_once_as_it_stood_last() -> None:
    first = an_evaluation()
    last = replace(first, at=first.at + 5, event="promoted")
    assert runs_of([last, first]) == [[first, last]]
    assert len(trends([first, last]).steps) == 1


def test_changes_are_told_by_vendor_family() -> None:
    claude = replace(an_evaluation(2), candidate=Model.of("bedrock", "anthropic.claude-sonnet-4"))
    found = trends([an_evaluation(1), claude])
    assert [family.vendor for family in found.families] == ["anthropic", "openai"]
    family = found.families[1]
    assert (family.evaluations, family.releases, family.shipped) == (1, ("gpt-4o-2024-11-20",), 1)
    assert (family.accuracy, family.cost, family.latency) == (None, None, None)
    assert words.family(family) == ("openai: 1 release; more is said from five on.")


def test_from_five_releases_on_the_mean_has_students_interval() -> None:
    costs = [-0.001, -0.003, -0.004, -0.006, -0.002]
    many = [a_release(number, cost=cost) for number, cost in enumerate(costs)]
    again = a_release(4, cost=-0.005, run=2)
    assert trends(many[:4]).families[0].cost is None
    (family,) = trends([*many, again]).families
    assert (family.evaluations, len(family.releases), family.shipped, family.last_shipped) == (6, 5, 5, True)
    changes = np.array([*costs[:4], -0.005]) / 0.05
    low, high = stats.t.interval(0.95, 4, loc=changes.mean(), scale=stats.sem(changes))
    assert family.cost is not None
    assert (family.cost.low, family.cost.estimate, family.cost.high) == pytest.approx(
        (low, changes.mean(), high)
    )
    assert words.family(family) == (
        "openai: 5 releases, on average: cost −7.6 % (−12.4 to −2.8), task completed −2.0 points "
        "(−2.0 to −2.0); 5 shipped; the last five all shipped."
    )


def test_shipped_is_what_was_promoted_or_decided_and_not_what_was_rolled_back_since() -> None:
    """A verdict to ship alone is no shipping; the end of a run takes nothing back."""
    told = a_release(0, event="ended")
    promoted, ended = a_release(1), replace(a_release(1, event="ended"), at=50 * DAY_S)
    rolled_back = [a_release(2), replace(a_release(2, event="rolled_back"), at=50 * DAY_S)]
    decided = replace(an_evaluation(3), candidate=Model.of("openai", "gpt-3"))
    found = trends([told, promoted, ended, *rolled_back, decided])
    assert {step.candidate: step.shipped for step in found.steps} == {
        "gpt-0": None,
        "gpt-1": True,
        "gpt-2": False,
        "gpt-3": True,
    }
    (family,) = found.families
    assert (family.shipped, family.last_shipped) == (2, False)


def test_a_year_saves_what_was_promoted_for_as_long_as_it_was_everybody_s() -> None:
    """$50,000 a month, of which $20,000 is the distance to the low end."""
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    def told(
        number: int, event: Event, day: float, monthly: float = 50_000.0, spent: float = 0.0
    ) -> Evaluation:
        one = a_release(number, event=event)
        cost = Range(low=-1.4 * monthly, estimate=-monthly, high=-0.6 * monthly)
        money = replace(one.report.details.money, difference_usd=cost)
        details = Details(money=money, evaluation=EvaluationCost(judge_usd=spent))
        return replace(one, at=begin + day * DAY_S, report=replace(one.report, details=details))

    archive = [
        told(1, "promoted", -30.0, spent=100.0),  # 60 days of this year
        told(1, "ended", -29.0, spent=100.0),  # which takes it from nobody
        told(2, "promoted", 0.0),
        told(2, "rolled_back", 30.0, spent=200.0),
        told(3, "rolled_back", 40.0, spent=300.0),  # never everybody's
        replace(told(4, "promoted", 45.0), report=a_release(4).report),
    ]
    unpriced = replace(archive[-1].report, details=replace(archive[-1].report.details, money=None))
    archive[-1] = replace(archive[-1], report=unpriced)
    last, this = trends(archive, now=begin + 60.0 * DAY_S).years
    assert (last.year, last.promoted, last.saved_usd.estimate, last.evaluated_usd) == (
        2025,
        1,
        50_000.0,
        100.0,
    )
    assert (this.year, this.promoted, this.unknown, this.evaluated_usd, this.in_vain_usd) == (
        2026,
        3,
        1,
        500.0,
        500.0,
    )
    assert this.ahead_usd is not None
    assert this.ahead_usd.estimate == pytest.approx(50_000.0 * 365 / 30), (
        "the first alone is still everybody's"
    )
    assert this.saved_usd.estimate == pytest.approx(150_000.0)
    assert this.saved_usd.low == pytest.approx(150_000.0 - math.hypot(40_000.0, 20_000.0))
    assert words.year_saved(this) == (
        "2026 so far: 3 promoted candidates should have saved $150,000 ($105,279 to $194,721) (of 1 of them "
        "it is not known), each against the model before it, as its report expected of a month, for the time "
        "since its promotion; no bill was compared. Evaluations cost $500 without people's time, $500 of it "
        "for what did not ship, which leaves $149,500 ($104,779 to $194,221). A year from now on should save "
        "$608,333 ($365,000 to $851,667)."
    )
    assert words.year_saved(last).startswith("2025: 1 promoted candidate should have saved $50,000 ")
    (only,) = trends(archive[-1:], now=begin + 60.0 * DAY_S).years
    assert words.year_saved(only) == (
        "2026 so far: what 1 promoted candidate should save is not known; evaluations cost $0 without "
        "people's time."
    )
    assert trends([]).years == ()


@pytest.mark.parametrize(
    ("weights", "metric"),
    [
        ({"csat": 90, "task_completed": 1}, "task_completed"),
        ({"helped": 10, "csat": 20, "error_rate": 90}, "csat"),
        ({"revenue": 50, "judged_mark": 50, "error_rate": 5, "answer_faults": 5}, "answer_faults"),
        ({"refused": 5, "error_rate": 10}, "error_rate"),
        ({"latency_p95": 50, "conversion": 50}, None),
    ],
)
def test_accuracy_is_that_of_the_quality_metric_of_the_rubric(
    weights: dict[str, float], metric: str | None
) -> None:
    nothing = Difference(low=None, estimate=None, high=None, p_value=None)
    found = quality_line([replace(a_line(name, 1, nothing), weight=each) for name, each in weights.items()])
    assert (found.metric if found is not None else None) == metric


def test_the_column_says_which_metric_it_is_and_in_its_unit() -> None:
    csat = a_line("csat", 4.1, Difference(low=-0.1, estimate=0.05, high=0.2, p_value=0.5))
    one = an_evaluation()
    (step,) = trends([replace(one, report=replace(one.report, metrics=(csat,)))]).steps
    assert words.accuracy(step) == "satisfaction +0.05 (−0.10 to +0.20)"
    assert words.accuracy(trends([one]).steps[0]) == "task completed −2.0 points (−4.0 to +0.0)"


def test_a_forecast_saving_has_its_interval_the_right_way_round() -> None:
    saving = trends([an_evaluation()]).steps[0].saving_usd_month
    assert saving is not None
    assert (saving.low, saving.estimate, saving.high) == (None, 50_000.0, 60_000.0)


def test_no_saving_is_forecast_while_costs_are_unknown() -> None:
    known = an_evaluation()
    details = replace(known.report.details, unknown_costs=UnknownCosts(candidate=0.05, baseline=0.0))
    unknown = replace(known, report=replace(known.report, details=details))
    (step,) = trends([unknown]).steps
    assert (step.saving_usd_month, step.cost, step.unpriced) == (None, None, True)
    assert (words.cost(step), words.saving(step)) == ("no price", "no price")
    assert trends([known]).steps[0].unpriced is False


def test_a_change_is_told_with_its_interval_and_an_unknown_end_is_not_told() -> None:
    assert words.points(Range(low=-0.04, estimate=-0.02, high=0.0)) == "−2.0 points (−4.0 to +0.0)"
    assert words.percent(Range(low=None, estimate=0.1, high=0.2)) == "+10.0 % (at most +20.0)"
    assert words.dollars(Range(low=-500.0, estimate=1500.0, high=None)) == "$1,500 (at least −$500)"
    assert words.dollars(None) == "–"


def test_a_model_that_a_benchmark_refused_is_a_release_of_its_vendor() -> None:
    many = [a_release(number) for number in range(5)]
    refused = {"openai/gpt-worse": 90 * DAY_S, "openai/gpt-2": 0.0, "azure/claude-9": 0.0}
    anthropic, openai = trends(many, refused).families
    assert openai.releases == ("gpt-0", "gpt-1", "gpt-2", "gpt-3", "gpt-4", "gpt-worse")
    assert (openai.evaluations, openai.shipped, openai.last_shipped) == (5, 5, False)
    assert (anthropic.releases, anthropic.shipped) == (("claude-9",), 0)
    assert words.family(anthropic) == "anthropic: 1 release; more is said from five on."


def test_a_variant_of_a_model_changes_nothing_in_what_is_said_of_the_model() -> None:
    shipped = replace(a_release(3), canary="first")
    model = Model.of("openai", "gpt-3")
    variant = replace(
        a_release(9, event="rolled_back"),
        baseline=model,
        candidate=Model.of("openai", "gpt-3", "low effort"),
    )
    found = trends([shipped, variant])
    assert [step.candidate for step in found.steps] == ["gpt-3", "gpt-3 · low effort"]
    (family,) = found.families
    assert (family.releases, family.shipped, family.evaluations) == (("gpt-3",), 1, 1)
    assert from_document(to_document(variant, sentences)).is_variant


def _accurate(number: int, *, users: float, synthetic: float) -> Evaluation:
    one = an_evaluation(number, score=50.0, synthetic=synthetic)
    line = replace(one.report.metrics[0], candidate=users, acceptable=">= 50%", ideal=">= 90%")
    return replace(one, report=replace(one.report, metrics=(line, *one.report.metrics[1:])))


def test_what_synthetic_tasks_predict_is_the_accuracy_with_users_not_the_score() -> None:
    many = [_accurate(n, users=0.6 + 0.04 * n, synthetic=50 + 5 * n + (-1) ** n) for n in range(8)]
    few = trends(many[:7]).validity
    assert (few.pairs, few.pearson, few.spearman, few.metric) == (7, None, None, "task_completed")
    enough = trends(many).validity
    assert enough.pearson is not None
    assert enough.pearson.low < enough.pearson.estimate < enough.pearson.high <= 1
    assert "8 evaluations with the accuracy of both (users: task completed): Pearson" in words.validity(
        enough
    )
    assert json.dumps(to_json(trends(many)))


def test_a_constant_accuracy_is_told_as_no_correlation() -> None:
    many = [an_evaluation(n, score=60 + 4 * n, synthetic=50 + 5 * n + (-1) ** n) for n in range(8)]
    assert trends(many).validity.pearson is None


def test_fishers_interval_is_scipys() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=20)
    y = 0.6 * x + rng.normal(size=20)
    known = stats.pearsonr(x, y)
    low, high = known.confidence_interval(0.95)
    found = pearson(x.tolist(), y.tolist())
    assert found is not None
    assert (found.low, found.estimate, found.high) == pytest.approx((low, known[0], high))
    ranks = spearman(x.tolist(), y.tolist())
    assert ranks is not None
    assert ranks.estimate == pytest.approx(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    assert ranks.high - ranks.low > 0


def test_a_series_that_never_changes_correlates_with_nothing() -> None:
    assert pearson([1.0] * 9, list(range(9))) is None


@pytest.mark.parametrize(
    ("model", "provider", "family"),
    [
        ("gpt-4o-2024-11-20", "azure", "openai"),
        ("o3-mini", "openai", "openai"),
        ("claude-sonnet-4", "openrouter", "anthropic"),
        ("anthropic.claude-sonnet-4-v1:0", "bedrock", "anthropic"),
        ("gemini-2.5-flash", "vertex", "google"),
        ("meta-llama/Llama-3.3-70B-Instruct", "vllm", "meta"),
        ("accounts/fireworks/models/qwen3-235b", "fireworks", "qwen"),
        ("our-own-7b", "Lab", "lab"),
    ],
)
def test_a_models_name_tells_its_vendor(model: str, provider: str, family: str) -> None:
    assert vendor(model, provider) == family
