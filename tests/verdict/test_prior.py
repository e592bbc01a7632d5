"""What a run's units did before it: which traffic counts, and what the report makes of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from records.facts.metric import BUILT_IN
from records.store import FixedRubric
from routing.canary import Arm, Match
from tests.verdict.totals import DAY_S, UnitTotals
from verdict.rows.reading import read
from verdict.sample.cohort import from_store, to_judge
from verdict.sample.observations import observe
from verdict.statistics.types import Floats
from verdict.terms.fixed_terms import judged_by, terms_of
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

START = 20_006 * DAY_S + 3600
"""The run's first exchange, on the first day of a week."""
WHOLE = Match(models=frozenset({"m", "m2"}))
METRICS = ("error_rate", "cost_per_request", "cost_total", "latency_p95", "ttft_p95", "tokens", "csat")


def _before(unit_totals: UnitTotals, match: Match = WHOLE, run: int = 1) -> Mapping[str, Floats]:
    return from_store(unit_totals.connection, "c", run, metrics=METRICS, prior=("p", match)).before


def _began(unit_totals: UnitTotals) -> None:
    for unit in ("u", "v"):
        unit_totals.cell(unit=unit, arm="candidate" if unit == "u" else "baseline", first_at=START)


def test_a_unit_has_its_mean_and_its_weight(unit_totals: UnitTotals) -> None:
    _began(unit_totals)
    for model, week in (("m", 0), ("m2", 1)):
        unit_totals.week(
            model=model, last_at=START - week * 7 * DAY_S - 60, counted=2, failed=1, latency_n=2,
            latency_sum=3.0, cost_n=1, cost_sum=0.25, tokens_n=2, tokens_sum=300.0,
        )  # fmt: skip
    unit_totals.week(unit="w", last_at=START - 60, cost_n=9, cost_sum=9.0)  # never came back
    found = {name: values.tolist() for name, values in _before(unit_totals).items()}
    nothing = [pytest.approx(float("nan"), nan_ok=True), 0.0]
    assert found["error_rate"] == [[0.5, 0.0], nothing]
    assert found["cost_per_request"] == [[0.25, 0.0], nothing]
    assert found["cost_total"] == [[0.5], [0.0]]
    assert found["latency_p95"] == [[1.5, 0.0], nothing]
    assert found["tokens"] == [[150.0, 0.0], nothing]
    assert "csat" not in found


def test_an_active_unit_weighs_more_than_a_quiet_one(unit_totals: UnitTotals) -> None:
    _began(unit_totals)
    unit_totals.week(last_at=START - 60, cost_n=6, cost_sum=12.0)
    unit_totals.week(unit="v", last_at=START - 60, cost_n=2, cost_sum=0.0)
    assert _before(unit_totals)["cost_per_request"].tolist() == [[2.0, 3.0], [0.0, -3.0]]


@pytest.mark.parametrize(
    "changed",
    [
        {"provider": "other"},
        {"model": "other"},
        {"last_at": START},
        {"last_at": START + 60},
        {"last_at": START - 40 * DAY_S},
    ],
)
def test_other_traffic_later_traffic_and_old_traffic_are_left_out(
    unit_totals: UnitTotals, changed: dict[str, Any]
) -> None:
    _began(unit_totals)
    unit_totals.week(**{"last_at": START - 60, "cost_n": 1, "cost_sum": 1.0, **changed})
    assert "cost_per_request" not in _before(unit_totals)


@pytest.mark.parametrize(
    "match", [Match(paths=frozenset({"/v1/x"})), Match(headers={"x-a": "1"}), Match(tags={"plan": "pro"})]
)
def test_a_canary_of_a_part_of_the_requests_reads_whole_weeks_only(
    unit_totals: UnitTotals, match: Match
) -> None:
    """The rest of the requests goes on after the start, in the same row."""
    _began(unit_totals)
    unit_totals.week(last_at=START - 60, cost_n=1, cost_sum=1.0)
    assert "cost_per_request" in _before(unit_totals, Match())
    assert "cost_per_request" not in _before(unit_totals, match)
    unit_totals.week(last_at=START - 2 * DAY_S, cost_n=1, cost_sum=2.0)
    assert _before(unit_totals, match)["cost_per_request"].tolist()[0] == [2.0, 0.0]


def test_a_second_run_is_known_from_before_the_first(unit_totals: UnitTotals) -> None:
    _began(unit_totals)
    for unit in ("u", "v"):
        unit_totals.cell(unit=unit, run=2, first_at=START + 5 * DAY_S)
    unit_totals.week(last_at=START + 60, cost_n=1, cost_sum=1.0)
    assert "cost_per_request" not in _before(unit_totals, run=2)
    unit_totals.week(model="m2", last_at=START - 60, cost_n=1, cost_sum=1.0)
    assert "cost_per_request" in _before(unit_totals, run=2)


def test_earlier_feedback_of_a_unit_counts(unit_totals: UnitTotals) -> None:
    _began(unit_totals)
    unit_totals.says(5, unit="u", at=START - 60)
    unit_totals.says(2, unit="u", at=START - 90, canary="c", run=1)
    unit_totals.says(1, unit="u", at=START - 90, canary="other", run=1)
    unit_totals.says(1, unit="u", at=START - 90, canary="c", run=1, phase=2)
    unit_totals.says(1, unit="u", at=START - 90, metric="nps")
    unit_totals.says(1, unit="v", at=START)
    csat = _before(unit_totals)["csat"]
    assert csat[0].tolist() == [3.5, 0.0]
    assert np.isnan(csat[1, 0])


def _cost_widths(unit_totals: UnitTotals, canary: JudgedCanary) -> tuple[float, float]:
    """The width of the cost difference without and with what was known of the users."""
    rng = np.random.default_rng(5)
    for number, habit in enumerate(np.exp(0.5 * rng.normal(size=600)).tolist()):
        unit, arm = f"u{number}", "candidate" if number % 3 == 0 else "baseline"
        now, then = (float(habit * rng.gamma(4.0, 0.25)) for _ in range(2))
        unit_totals.cell(unit=unit, arm=arm, first_at=START + number, cost_n=1, cost_sum=now)
        unit_totals.week(unit=unit, last_at=START - 60, cost_n=1, cost_sum=then)
    sample = to_judge(unit_totals.connection, canary)
    return tuple(  # type: ignore[return-value]
        interval.high - interval.low
        for each in (replace(sample, before={}), sample)
        for comparison in (
            read(each, observe(each, "cost_per_request", BUILT_IN, now=2e9), planned=500).comparison,
        )
        if comparison is not None
        for interval in (comparison.contrast(1, 0),)
    )


def test_a_report_needs_fewer_users_where_they_are_known(unit_totals: UnitTotals) -> None:
    row = Criterion(
        metric="cost_per_request", acceptable=parse_bound("<= 1.2x baseline"),
        ideal=parse_bound("<= baseline"), weight=1, question="?",
    )  # fmt: skip
    canary = JudgedCanary(name="c", criteria=[row], baseline=Arm(provider="p", model="m"), match=WHOLE)
    plain, known = _cost_widths(unit_totals, canary)
    assert known < 0.9 * plain


def test_the_match_is_among_the_fixed_terms() -> None:
    match = Match(models=frozenset({"m"}), headers={"x-a": "1"})
    canary = JudgedCanary(name="c", criteria=(), match=match)
    fixed = FixedRubric(sha256="", document=terms_of(canary), fixed_at=0.0)
    assert judged_by("c", fixed).match == match
