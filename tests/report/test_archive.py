"""Evaluations as they are kept, and what many of them tell together."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from report.archive import BadEvaluation, Evaluation, Model, from_document, parse, to_document, to_line
from report.archive_trends import Change, last_of_each_run, to_json, trends
from report.details import Details, Money, Range, UnknownCosts
from report.document import Decided, Difference, MetricLine, Report, ReportWindow, Score, Srm, Units
from report.render import trends as words
from report.statistics.correlation import pearson, spearman
from report.vendor import vendor

DAY_S = 86400.0


def _line(metric: str, baseline: float, difference: Difference) -> MetricLine:
    return MetricLine(
        metric=metric,
        baseline=baseline,
        candidate=baseline + (difference.estimate or 0.0),
        candidate_interval=(None, None),
        difference=difference,
        state="PASS",
        acceptable="< 1",
        ideal="< .5",
        weight=1,
        units=500,
        mde=None,
        units_needed=0,
        days_needed=0.0,
        question="?",
    )


def _money() -> Money:
    return Money(
        days=9.0,
        users=6000,
        requests_a_month=1000,
        priced=1.0,
        baseline_usd=500_000.0,
        candidate_usd=450_000.0,
        change=Range(low=-0.12, estimate=-0.1, high=-0.08),
        difference_usd=Range(low=-60_000.0, estimate=-50_000.0, high=None),
    )


def _evaluation(number: int = 1, *, score: float = 80.0, synthetic: float | None = None) -> Evaluation:
    report = Report(
        canary=f"c{number}",
        verdict="ship",
        reasons=("all well",),
        score=Score(low=70, estimate=score, high=90),
        rubric_sha256="ab" * 32,
        window=ReportWindow(start=0.0, end=9 * DAY_S, days=9.0),
        units=Units(baseline=5400, candidate=600),
        srm=Srm(p_value=0.4, blocked=False),
        metrics=(
            _line("task_completed", 0.9, Difference(low=-0.04, estimate=-0.02, high=0.0, p_value=0.2)),
            _line("cost_per_request", 0.05, Difference(low=-0.006, estimate=-0.005, high=-0.004, p_value=0)),
        ),
        segments=(),
        categories=(),
        decision=Decided(decision="ship", by="jane", reason="r", at=10 * DAY_S, compensating=None),
        details=Details(money=_money()),
    )
    return Evaluation(
        canary=f"c{number}",
        run=1,
        at=10 * DAY_S + number,
        event="decided",
        who="jane",
        reason="r",
        baseline=Model.of("openai", "gpt-4o-2024-08-06"),
        candidate=Model.of("openai", "gpt-4o-2024-11-20"),
        report=report,
        synthetic=synthetic,
    )


def test_an_evaluation_comes_back_as_it_was_kept() -> None:
    one, other = _evaluation(1), replace(_evaluation(2, synthetic=83.5), baseline=None, candidate=None)
    assert from_document(json.loads(json.dumps(to_document(one)))) == one
    assert parse(f"{to_line(one)}\n\n{to_line(other)}\n") == [one, other]


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
    good = to_document(_evaluation())
    text = f"{json.dumps(good)}\n{json.dumps({**good, **change})}"
    with pytest.raises(BadEvaluation, match="line 2") as refused:
        parse(text)
    assert complaint in str(refused.value)


def test_a_missing_part_is_named() -> None:
    document = to_document(_evaluation())
    del document["canary"]
    with pytest.raises(BadEvaluation, match="'canary' is missing"):
        from_document(document)


def test_a_run_counts_once_as_it_stood_last() -> None:
    first = _evaluation()
    last = replace(first, at=first.at + 5, event="promoted")
    assert last_of_each_run([last, first]) == [last]
    assert len(trends([first, last]).steps) == 1


def test_changes_are_told_by_vendor_family() -> None:
    claude = replace(_evaluation(2), candidate=Model.of("bedrock", "anthropic.claude-sonnet-4"))
    found = trends([_evaluation(1), claude])
    assert [family.vendor for family in found.families] == ["anthropic", "openai"]
    family = found.families[1]
    assert (family.evaluations, family.shipped) == (1, 1)
    assert family.accuracy == pytest.approx(-0.02)
    assert family.cost == pytest.approx(-0.1)
    assert family.latency is None


def test_a_forecast_saving_has_its_interval_the_right_way_round() -> None:
    saving = trends([_evaluation()]).steps[0].saving_usd_month
    assert saving is not None
    assert (saving.low, saving.estimate, saving.high) == (None, 50_000.0, 60_000.0)


def test_no_saving_is_forecast_while_costs_are_unknown() -> None:
    known = _evaluation()
    details = replace(known.report.details, unknown_costs=UnknownCosts(candidate=0.05, baseline=0.0))
    unknown = replace(known, report=replace(known.report, details=details))
    (step,) = trends([unknown]).steps
    assert (step.saving_usd_month, step.cost, step.unpriced) == (None, None, True)
    assert (words.cost(step), words.saving(step)) == ("no price", "no price")
    assert trends([known]).steps[0].unpriced is False


def test_a_change_is_told_with_its_interval_and_an_unknown_end_is_not_told() -> None:
    assert words.points(Change(low=-0.04, estimate=-0.02, high=0.0)) == "−2.0 points (−4.0 to +0.0)"
    assert words.percent(Change(low=None, estimate=0.1, high=0.2)) == "+10.0 % (at most +20.0)"
    assert words.dollars(Change(low=-500.0, estimate=1500.0, high=None)) == "$1,500 (at least −$500)"
    assert words.dollars(None) == "–"


def test_synthetic_scores_are_compared_from_eight_evaluations_on() -> None:
    many = [_evaluation(n, score=60 + 4 * n, synthetic=50 + 5 * n + (-1) ** n) for n in range(8)]
    few = trends(many[:7]).validity
    assert (few.pairs, few.pearson, few.spearman) == (7, None, None)
    enough = trends(many).validity
    assert enough.pearson is not None
    assert enough.pearson.low < enough.pearson.estimate < enough.pearson.high <= 1
    assert json.dumps(to_json(trends(many)))


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
