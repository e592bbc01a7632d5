"""From margins to a bound back to the metric's own values, as people read them."""

import pytest

from pages.words.figures import ends_in_words
from verdict.decision.document import Difference, LookLine, MetricLine
from verdict.decision.plan_course import look_ends, possible, value_at
from verdict.terms.rubric import parse_bound


def _line(
    metric: str, acceptable: str, ideal: str, *, baseline: float | None, low: float | None, high: float | None
) -> MetricLine:
    return MetricLine(
        metric=metric,
        baseline=baseline,
        candidate=0.5,
        candidate_interval=(None, None),
        difference=Difference(),
        state="INCONCLUSIVE",
        acceptable=acceptable,
        ideal=ideal,
        weight=1.0,
        units=300,
        mde=None,
        units_needed=None,
        days_needed=None,
        question="?",
        look=LookLine(day=8, low=low, high=high, p=0.2, risk=0.05, boundary=2.0, chance=0.5),
    )


@pytest.mark.parametrize(
    ("bound", "baseline", "margin", "value"),
    [
        (">= 85%", None, 0.02, 0.87),
        (">= 85%", 0.9, -0.02, 0.83),
        ("< 2s", 0.8, 0.5, 1.5),
        ("< 2s", None, -0.5, 2.5),
        (">= baseline - 3pp", 0.94, 0.01, 0.92),
        ("<= 1.2x baseline", 0.05, 0.01, 0.05),
        ("<= 1.2x baseline", None, 0.01, None),
        ("< 2s", 0.8, None, None),
    ],
)
def test_a_margin_is_a_value_on_the_better_side_of_its_bound(
    bound: str, baseline: float | None, margin: float | None, value: float | None
) -> None:
    assert value_at(margin, parse_bound(bound), baseline) == pytest.approx(value)


def test_where_lower_is_better_the_low_margin_is_the_highest_value() -> None:
    line = _line("latency_p95", "< 2s", "< 1s", baseline=0.8, low=-0.25, high=1.0)
    assert look_ends(line) == (1.0, 2.25)
    line = _line("task_completed", ">= 85%", ">= 90%", baseline=0.8, low=-0.25, high=0.1)
    assert look_ends(line) == pytest.approx((0.6, 0.95))


def test_an_open_end_stays_open_on_its_side() -> None:
    slower = _line("latency_p95", "< 2s", "< 1s", baseline=0.8, low=None, high=1.0)
    assert look_ends(slower) == (1.0, None)
    better = _line("csat", "> 4.1", "> 4.4", baseline=4.0, low=None, high=0.2)
    low, high = look_ends(better)
    assert low is None
    assert high == pytest.approx(4.3)


def test_no_value_is_shown_that_the_metric_cannot_have() -> None:
    errors = _line("error_rate", "< 3%", "< 2%", baseline=0.01, low=0.005, high=0.04)
    assert look_ends(errors) == pytest.approx((0.0, 0.025))
    assert errors.look is not None
    done = _line("task_completed", ">= 85%", ">= 90%", baseline=0.9, low=0.05, high=0.3)
    assert done.look is not None
    assert possible(done.look, done) == pytest.approx((0.9, 1.0))


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.82, 0.871), "82.0 % to 87.1 %"),
        ((None, 0.871), "up to 87.1 %"),
        ((0.82, None), "82.0 % or more"),
        ((None, None), "anything"),
    ],
)
def test_what_is_possible_is_said_in_words(ends: tuple[float | None, float | None], words: str) -> None:
    assert ends_in_words(ends, "share") == words
