"""Bounds as people write them, pairs that can be judged, and the rubric's fingerprint."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.facts.metric import BUILT_IN, Metric
from records.store import FixedRubric
from verdict.terms.fixed_terms import judged_by, terms_of
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import BadBound, Criterion, check, parse_bound, sha256


@pytest.mark.parametrize(
    ("text", "comparison", "value"),
    [
        (">= 85%", ">=", 0.85),
        ("< 2s", "<", 2.0),
        ("< 0.12", "<", 0.12),
        ("< $0.12", "<", 0.12),
        ("> 4.1", ">", 4.1),
        ("<= 300ms", "<=", 0.3),
        ("  >=85 %  ", ">=", 0.85),
        ("> -10", ">", -10.0),
    ],
)
def test_an_absolute_bound_is_read_in_the_metrics_own_unit(text: str, comparison: str, value: float) -> None:
    bound = parse_bound(text)
    assert (bound.comparison, bound.relative) == (comparison, False)
    assert bound.value == pytest.approx(value)
    assert bound.text == text


@pytest.mark.parametrize(
    ("text", "factor", "offset"),
    [
        (">= baseline - 2%", 0.98, 0.0),
        (">= baseline + 2%", 1.02, 0.0),
        (">= baseline - 2pp", 1.0, -0.02),
        (">= baseline - 0.1", 1.0, -0.1),
        ("<= baseline + 50ms", 1.0, 0.05),
        ("<= 1.2x baseline", 1.2, 0.0),
        ("< baseline", 1.0, 0.0),
    ],
)
def test_a_relative_bound_is_a_factor_and_an_offset(text: str, factor: float, offset: float) -> None:
    bound = parse_bound(text)
    assert bound.relative
    assert bound.factor == pytest.approx(factor)
    assert bound.offset == pytest.approx(offset)


@pytest.mark.parametrize(
    ("text", "comparison", "value"),
    [("85–92 %", ">=", 0.85), (">= 85-92%", ">=", 0.85), ("85%-92%", ">=", 0.85), ("< 1-2s", "<", 2.0)],
)
def test_a_range_reads_as_its_more_lenient_end(text: str, comparison: str, value: float) -> None:
    bound = parse_bound(text)
    assert (bound.comparison, bound.value) == (comparison, pytest.approx(value))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("85%", "must start with <"),
        ("good", "is not a bound"),
        (">= 2pp", "distance from the baseline"),
        (">= 0x baseline", "above 0"),
        (">= baseline - 100%", "above 0"),
        ("= 4", "must start with <"),
        ("", "must start with <"),
    ],
)
def test_a_bad_bound_says_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(BadBound, match=says):
        parse_bound(text)


@given(st.sampled_from(["<", "<=", ">", ">="]), st.floats(0, 1e6))
def test_any_plain_number_is_read_back(comparison: str, value: float) -> None:
    bound = parse_bound(f"{comparison} {value:.6f}")
    assert (bound.comparison, bound.value) == (comparison, float(f"{value:.6f}"))


def _criterion(acceptable: str, ideal: str, weight: float = 1) -> Criterion:
    return Criterion(
        metric="m", acceptable=parse_bound(acceptable), ideal=parse_bound(ideal), weight=weight, question="?"
    )


@pytest.mark.parametrize(
    ("acceptable", "ideal"),
    [
        (">= 85%", ">= 90%"),
        ("< 2s", "< 900ms"),
        (">= baseline - 2%", ">= baseline"),
        ("<= 1.2x baseline", "< baseline"),
    ],
)
def test_a_pair_with_a_better_ideal_can_be_judged(acceptable: str, ideal: str) -> None:
    check(_criterion(acceptable, ideal))


@pytest.mark.parametrize(
    ("acceptable", "ideal", "weight", "says"),
    [
        (">= 90%", ">= 85%", 1, "strictly better"),
        (">= 90%", ">= 90%", 1, "strictly better"),
        ("< 1s", "< 2s", 1, "strictly better"),
        (">= 90%", "< 95%", 1, "opposite"),
        (">= 90%", ">= baseline", 1, "different kinds"),
        (">= baseline - 2%", ">= baseline - 1pp", 1, "strictly better"),
        (">= 85%", ">= 90%", 0, "weight"),
    ],
)
def test_a_pair_that_cannot_be_judged_is_refused(
    acceptable: str, ideal: str, weight: float, says: str
) -> None:
    with pytest.raises(BadBound, match=says):
        check(_criterion(acceptable, ideal, weight))


def test_the_fingerprint_moves_with_what_decides_and_with_nothing_else(criteria: Sequence[Criterion]) -> None:
    fixed = sha256(criteria)
    reworded = replace(criteria[0], question="other words", acceptable=parse_bound(">=85.0%"))
    assert sha256([reworded, *criteria[1:]]) == fixed
    assert sha256([replace(criteria[0], weight=41), *criteria[1:]]) != fixed
    assert sha256([replace(criteria[0], acceptable=parse_bound(">= 84%")), *criteria[1:]]) != fixed
    assert sha256(criteria, planned_units=1000) != fixed
    assert sha256(criteria[1:]) != fixed


RESOLVED = Metric(name="resolved", kind="bool", per="session", question="Settled?", low=0, high=1)
PRICE = Metric(
    name="price", kind="amount", question="At what cost?", low=0, higher_is_better=False, cost_per="resolved"
)


def terms_with(*metrics: Metric) -> JudgedCanary:
    row = Criterion(
        metric="price", acceptable=parse_bound("< $2"), ideal=parse_bound("< $1"), weight=1, question="?"
    )
    return JudgedCanary(name="trial", criteria=[row], metrics={each.name: each for each in metrics})


@pytest.mark.parametrize(
    "other",
    [
        replace(RESOLVED, per="user"),
        replace(RESOLVED, kind="count", high=None),
        replace(RESOLVED, matures_after_s=86400.0),
        replace(RESOLVED, higher_is_better=False),
        replace(PRICE, cost_per="conversion"),
        replace(PRICE, matures_after_s=86400.0),
    ],
)
def test_the_fingerprint_moves_with_the_definition_of_every_metric_that_a_row_uses(other: Metric) -> None:
    fixed, conversion = terms_with(RESOLVED, PRICE), BUILT_IN["conversion"]
    assert terms_with(RESOLVED, PRICE, conversion, other).sha256 != fixed.sha256
    unused = replace(conversion, name="unused")
    assert terms_with(replace(RESOLVED, question="In other words?"), PRICE, unused).sha256 == fixed.sha256


def test_stored_terms_have_the_metric_whose_events_a_cost_is_divided_by() -> None:
    judged = terms_with(RESOLVED, PRICE)
    fixed = FixedRubric(sha256=judged.sha256, document=terms_of(judged), fixed_at=0.0)
    stored = judged_by("trial", fixed)
    assert stored.sha256 == judged.sha256
    assert (stored.metrics["resolved"], stored.metrics["price"]) == (RESOLVED, PRICE)


def test_the_fingerprint_of_the_contracts_example_is_pinned(criteria: Sequence[Criterion]) -> None:
    assert sha256(criteria) == "ee6bac07b5c64b03caafc0f4daead5484811657241b2987101ff59ad5e165bd2"
