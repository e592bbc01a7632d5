"""States, margins and what is still missing, on samples small enough to be understood."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from records.facts.metric import BUILT_IN, Metric
from tests.verdict.simulated_looks import row
from verdict.decision.decide import points, score
from verdict.rows.comparison import GATE, MeanComparison, symmetric
from verdict.rows.reading import MetricReading, read
from verdict.rows.reasons import Capped
from verdict.rows.row import capped, decide, detectable, further_units
from verdict.sample.csv_log import ExchangeTable
from verdict.sample.observations import observe
from verdict.sample.sample import Ratings, Sample, TextColumn
from verdict.statistics.sequence import POWER_Z, multiplier
from verdict.statistics.types import Floats
from verdict.terms.measures import UnknownMetric
from verdict.terms.rubric import Criterion

NOW = 1000.0


def _sample(candidate: Floats, baseline: Floats, **changed: Any) -> Sample:
    """One exchange and one csat value a unit; the latency and the cost are the value too."""
    values = np.concatenate([candidate, baseline])
    n = len(values)
    fields: dict[str, Any] = {
        "units": tuple(f"u{i}" for i in range(n)),
        "unit": np.arange(n),
        "candidate": np.arange(n) < len(candidate),
        "phase": np.zeros(n, dtype=np.int64),
        "at": np.linspace(0.0, 900.0, n),
        "counts": np.ones(n, dtype=np.bool_),
        "failed": np.zeros(n, dtype=np.bool_),
        "latency_s": values,
        "ttft_s": values,
        "cost_usd": values,
        "tokens": values,
        "category": TextColumn.of([""] * n),
        "feedback": {"csat": Ratings(row=np.arange(n), value=values, at=np.full(n, 950.0))},
        "shares": {0: 0.5},
    }
    return ExchangeTable(**{**fields, **changed}).sample()


def _reading(sample: Sample, metric: str, planned: float = 500) -> MetricReading:
    return read(sample, observe(sample, metric, BUILT_IN, now=NOW), planned=planned)


def _ratings(mean: float, n: int = 400, seed: int = 1) -> Floats:
    return np.clip(np.random.default_rng(seed).normal(mean, 0.5, size=n), 1, 5)


def test_the_states_follow_the_interval() -> None:
    reading = _reading(_sample(_ratings(4.0), _ratings(4.0, seed=2)), "csat")
    expected = {
        ("> 3.5", "> 3.8"): "IDEAL",
        ("> 3.8", "> 4.5"): "PASS",
        ("> 4.2", "> 4.5"): "FAIL",
        ("> 4", "> 4.5"): "INCONCLUSIVE",
        ("< 4.2", "< 3.5"): "PASS",
        ("< 3.8", "< 3.5"): "FAIL",
        (">= baseline - 5%", ">= baseline + 5%"): "PASS",
        (">= baseline + 5%", ">= baseline + 10%"): "FAIL",
        (">= baseline - 0.5", ">= baseline - 0.2"): "IDEAL",
        (">= baseline", ">= baseline + 0.5"): "INCONCLUSIVE",
    }
    assert {pair: decide(row("csat", *pair), reading).state for pair in expected} == expected


@pytest.mark.parametrize("units", [GATE - 1, GATE])
def test_no_interval_before_the_gate(units: int) -> None:
    reading = _reading(_sample(_ratings(4.9, units), _ratings(4.0)), "csat")
    judged = decide(row("csat", "> 3", "> 4"), reading)
    assert (judged.state == "NODATA") == (units < GATE)
    assert further_units(judged, gate=GATE, planned=500) == (1 if units < GATE else 0)


def test_a_relative_bound_needs_a_baseline_of_the_same_size() -> None:
    reading = _reading(_sample(_ratings(4.5), _ratings(4.0, 30)), "csat")
    assert decide(row("csat", ">= baseline - 5%", ">= baseline"), reading).state == "NODATA"
    assert decide(row("csat", "> 3", "> 4"), reading).state == "IDEAL"


def test_a_log_of_the_candidate_alone_can_be_judged_on_absolute_bounds() -> None:
    reading = _reading(_sample(_ratings(4.5), np.zeros(0)), "csat")
    assert reading.baseline is None
    assert decide(row("csat", "> 3", "> 4"), reading).state == "IDEAL"
    cost = _reading(_sample(_ratings(4.5), np.zeros(0)), "cost_per_request")
    assert decide(row("cost_per_request", "< 9", "< 7"), cost).state == "IDEAL"
    latency = _reading(_sample(_ratings(4.0), np.zeros(0)), "latency_p50")
    assert decide(row("latency_p50", "< 9", "< 7"), latency).state == "IDEAL"


def test_a_relative_bound_is_judged_on_its_own_contrast() -> None:
    candidate, baseline = _ratings(4.0), _ratings(4.1, seed=2)
    reading = _reading(_sample(candidate, baseline), "csat")
    judged = decide(row("csat", ">= baseline - 2%", ">= baseline"), reading)
    assert judged.acceptable is not None
    se = math.sqrt(np.var(candidate, ddof=1) / 400 + 0.98**2 * np.var(baseline, ddof=1) / 400)
    assert judged.acceptable.estimate == pytest.approx(candidate.mean() - 0.98 * baseline.mean())
    half = multiplier(reading.tau, 0.05) * se
    assert judged.acceptable.low == pytest.approx(judged.acceptable.estimate - half)
    assert detectable(judged) == pytest.approx((multiplier(reading.tau, 0.05) + POWER_Z) * se)


def test_cost_is_compared_on_the_logarithm() -> None:
    rng = np.random.default_rng(3)
    candidate, baseline = (np.exp(rng.normal(mean, 0.8, size=800)) for mean in (0.0, 0.1))
    reading = _reading(_sample(candidate, baseline), "cost_per_request")
    assert reading.comparison is not None
    own = reading.comparison.contrast(0, 0)
    assert own.high - own.estimate > own.estimate - own.low > 0
    assert own.high * own.low == pytest.approx(own.estimate**2)
    difference = reading.comparison.contrast(1, 0)
    assert difference.estimate == pytest.approx(candidate.mean() - baseline.mean())
    log_se = math.sqrt(
        sum(float(np.var(arm, ddof=1)) / 800 / float(arm.mean()) ** 2 for arm in (candidate, baseline))
    )
    z = math.log(candidate.mean() / baseline.mean()) / log_se
    assert reading.comparison.z() == pytest.approx(z)


def test_one_unit_that_holds_the_variance_keeps_a_metric_from_passing() -> None:
    costs = np.full(300, 0.01)
    costs[:200] += np.linspace(0, 0.001, 200)
    costs[7] = 0.2
    judged = decide(
        row("cost_per_request", "< 1", "< 0.5"),
        _reading(_sample(costs, np.full(300, 0.01)), "cost_per_request"),
    )
    assert judged.acceptable is not None
    assert judged.acceptable.low > 0
    assert (judged.state, judged.heavy) == ("INCONCLUSIVE", True)
    assert further_units(judged, gate=GATE, planned=500) is None


def test_few_errors_are_judged_without_a_normal_approximation() -> None:
    sample = _sample(np.ones(200), np.ones(4000))
    reading = _reading(sample, "error_rate")
    assert reading.comparison is not None
    own = reading.comparison.contrast(0, 0)
    assert (own.low, own.estimate, own.high) == (0, 0, pytest.approx(0.030611, abs=5e-7))
    # Not one error in 200 users is no proof of less than 1 %.
    assert decide(row("error_rate", "< 1%", "< 0.5%"), reading).state == "INCONCLUSIVE"
    assert decide(row("error_rate", "< 5%", "< 4%"), reading).state == "IDEAL"


def test_a_perfect_rating_from_everybody_is_still_uncertain() -> None:
    reading = _reading(_sample(np.full(150, 5.0), _ratings(4.0)), "csat")
    assert reading.comparison is not None
    own = reading.comparison.contrast(0, 0)
    assert own.low < own.estimate == own.high == 5


def test_a_quantile_with_too_few_units_for_its_upper_end_cannot_pass() -> None:
    rng = np.random.default_rng(5)
    sample = _sample(np.exp(rng.normal(size=120)), np.exp(rng.normal(size=4000)))
    reading = _reading(sample, "latency_p99")
    judged = decide(row("latency_p99", "< 1000s", "< 900s"), reading)
    assert judged.acceptable is not None
    assert judged.acceptable.low == -math.inf
    assert judged.state == "INCONCLUSIVE"
    assert detectable(judged) is None


def test_a_timeout_that_many_hit_is_not_known_without_error() -> None:
    rng = np.random.default_rng(6)
    values = rng.uniform(0, 1, size=2000)
    values[rng.random(2000) < 0.06] = 10.0
    reading = _reading(_sample(values, values), "latency_p95")
    assert reading.comparison is not None
    own = reading.comparison.contrast(0, 0)
    assert own.estimate == 10
    assert own.low < 1


def test_what_is_the_same_in_both_arms_differs_by_no_rounding() -> None:
    # A fixed price: 0.1 and 0.7 have no exact sum, and the two arms round theirs apart.
    for price in (0.1, 0.7, 900.1):
        for users in (107, 331, 1003):
            reading = _reading(
                _sample(np.full(users, price), np.full(3 * users + 1, price)), "cost_per_request"
            )
            judged = decide(row("cost_per_request", "<= baseline", "<= 0.5x baseline"), reading)
            assert judged.state == "PASS"
            assert decide(row("cost_per_request", f"<= {price}", "<= 0.01"), reading).state == "PASS"
            assert reading.comparison is not None
            assert reading.comparison.z() == 0


def test_an_amount_that_nobody_has_yet_is_not_known_to_be_nothing() -> None:
    # Of 150 users none had a refund; one in a hundred does, of 50 dollars.
    refund = {"refund": Metric(name="refund", kind="amount", question="?", higher_is_better=False)}
    values = Ratings(
        row=np.arange(1150), value=np.where(np.arange(1150) % 100 == 99, 50.0, 0.0), at=np.zeros(1150)
    )
    values.value[:150] = 0
    sample = replace(_sample(np.ones(150), np.ones(1000)), feedback={"refund": values})
    reading = read(sample, observe(sample, "refund", refund, now=NOW), planned=500)
    for bounds in (("< 0.3", "< 0.2"), ("<= baseline", "<= 0.5x baseline")):
        judged = decide(row("refund", *bounds), reading)
        assert judged.state == "INCONCLUSIVE"
        assert (detectable(judged), further_units(judged, gate=GATE, planned=500)) == (None, None)
    assert reading.comparison is not None
    assert reading.comparison.z() == 0


def test_what_nearly_all_requests_take_is_not_known_without_error_either() -> None:
    # Of 120 users 117 get the same cached answer. That 5 % may yet wait for long is all there is to know.
    values = np.full(120, 1.0)
    values[:3] = 9.0
    reading = _reading(_sample(values, values), "latency_p95")
    judged = decide(row("latency_p95", "< 2s", "< 1.5s"), reading)
    assert reading.candidate == 1
    assert judged.state == "INCONCLUSIVE"


def test_missing_values_are_left_out_and_excluded_exchanges_too() -> None:
    sample = _sample(
        np.ones(3),
        np.ones(3),
        counts=np.array([True, False, True, True, True, True]),
        cost_usd=np.array([np.nan, 1, 1, 1, np.nan, 1]),
    )
    assert observe(sample, "cost_per_request", BUILT_IN, now=NOW).row.tolist() == [2, 3, 5]
    assert observe(sample, "error_rate", BUILT_IN, now=NOW).row.tolist() == [0, 2, 3, 4, 5]


def test_only_matured_units_count_and_only_what_they_said_in_time() -> None:
    late = {"csat": Metric(name="csat", kind="rating", question="?", low=1, high=5, matures_after_s=100.0)}
    ratings = Ratings(
        row=np.array([0, 1, 2, 3]), value=np.full(4, 4.0), at=np.array([50.0, 850.0, 990.0, 910.0])
    )
    at = np.array([0.0, 800.0, 880.0, 905.0])
    sample = _sample(np.ones(2), np.ones(2), at=at, feedback={"csat": ratings})
    seen = observe(sample, "csat", late, now=NOW)
    assert seen.exposed.tolist() == [True, True, True, False]
    assert seen.row.tolist() == [0, 1]


def test_nps_is_promoters_less_detractors() -> None:
    ratings = Ratings(row=np.arange(4), value=np.array([10.0, 9.0, 7.0, 6.0]), at=np.zeros(4))
    sample = replace(_sample(np.ones(2), np.ones(2)), feedback={"nps": ratings})
    assert observe(sample, "nps", BUILT_IN, now=NOW).total.tolist() == [100, 100, 0, -100]


def test_an_unknown_metric_is_named_with_what_there_is() -> None:
    with pytest.raises(UnknownMetric, match=r"'speed' is not a metric.*csat"):
        observe(_sample(np.ones(1), np.ones(1)), "speed", BUILT_IN, now=NOW)


def _contract_readings() -> list[tuple[Criterion, float]]:
    return [
        (row("task_completed", ">= 85%", ">= 90%", 40), 0.88),
        (row("latency_p95", "< 2s", "< 1s", 25), 1.2),
        (row("cost_per_request", "< 0.12", "< 0.06", 20), 0.08),
        (row("csat", "> 4.1", "> 4.4", 15), 4.33),
    ]


class _Exact:
    """A comparison without any uncertainty."""

    def __init__(self, interval: Callable[[float, float], Any]) -> None:
        self.contrast = interval

    def z(self) -> float:
        return 0.0

    def heaviest(self, factor: float) -> float:
        return 0.0


def test_the_score_of_the_contracts_example() -> None:
    judged = []
    for criterion, value in _contract_readings():

        def contrast(factor: float, offset: float, value: float = value) -> Any:
            return symmetric(value - offset, 0.0)

        reading = MetricReading(
            candidate_units=500,
            baseline_units=500,
            carrying=(500, 500),
            candidate=value,
            baseline=value,
            comparison=_Exact(contrast),
            tau=8.0,
        )
        judged.append(decide(criterion, reading))
    singles = [score([one]).estimate for one in judged]
    assert singles == [pytest.approx(x, abs=5e-7) for x in (84, 92, 86.666667, 90.666667)]
    assert score(judged).estimate == pytest.approx(87.533333, abs=5e-7)


def test_a_metric_without_data_widens_the_score_and_does_not_move_it() -> None:
    known = decide(row("csat", "> 3.5", "> 3.8", 3), _reading(_sample(_ratings(4.0), _ratings(4.0)), "csat"))
    unknown = decide(
        row("csat", "> 3.5", "> 3.8", 1), _reading(_sample(_ratings(4.0, 5), _ratings(4.0)), "csat")
    )
    both = score([known, unknown])
    assert (both.low, both.estimate, both.high) == (75, 100, 100)
    assert score([unknown]).estimate is None


def test_points_fall_to_nothing_below_acceptable() -> None:
    assert [points(x) for x in (-0.01, 0, 0.5, 1, 7)] == [0, 60, 80, 100, 100]


def test_units_needed_are_those_that_a_narrower_interval_takes() -> None:
    reading = _reading(_sample(_ratings(4.05), _ratings(4.0, seed=2)), "csat")
    judged = decide(row("csat", "> 4", "> 4.5"), reading)
    assert judged.state == "INCONCLUSIVE"
    assert judged.acceptable is not None
    more = further_units(judged, gate=GATE, planned=500)
    assert more is not None
    se = (judged.acceptable.high - judged.acceptable.low) / 2 / multiplier(reading.tau, 0.05)
    total = reading.candidate_units + more
    tau = reading.tau * total / reading.candidate_units
    reach = (multiplier(tau, 0.05) + POWER_Z) * se * math.sqrt(reading.candidate_units / total)
    assert reach == pytest.approx(judged.acceptable.estimate, rel=1e-2)


@pytest.mark.parametrize("same", [4.0, 5.0])
@pytest.mark.parametrize("others", [0, 5])
def test_ratings_that_hardly_differ_have_no_known_spread(same: float, others: int) -> None:
    ratings = np.full(200, same)
    ratings[:others] = 3.0
    reading = _reading(_sample(ratings, np.full(200, same)), "csat")
    assert reading.comparison is not None
    own, difference = reading.comparison.contrast(0, 0), reading.comparison.contrast(1, 0)
    assert own.high - own.low > 0.1
    assert difference.low < 0 < difference.high
    assert decide(row("csat", f"> {same - 0.01}", "> 4.995"), reading).state == "INCONCLUSIVE"


def test_ratings_that_differ_keep_the_normal_interval() -> None:
    ratings = np.repeat([4.0, 3.0], [170, 30])
    reading = _reading(_sample(ratings, ratings), "csat")
    assert isinstance(reading.comparison, MeanComparison)


def test_amounts_that_were_cut_say_where() -> None:
    spent = np.random.default_rng(1).exponential(10.0, size=1500)
    sample = _sample(spent, spent)
    sample = replace(sample, feedback={"revenue": sample.feedback["csat"]})
    criterion = row("revenue", "> $5", "> $50")
    observed = observe(sample, "revenue", BUILT_IN, now=NOW)
    assert observed.capped_at is not None
    assert observed.total.max() == observed.capped_at < spent.max()
    assert capped(observed, criterion) == Capped(metric="revenue", acceptable="> $5", at=observed.capped_at)
    few = observe(_sample(spent[:400], spent[:400]), "csat", BUILT_IN, now=NOW)
    assert (few.capped_at, capped(few, criterion)) == (None, None)
