"""A report shows the value that it decides: in every row, it lies in the interval that is shown with it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pages.reports.report import rendered
from records.facts.metric import Metric
from tests.effort import examples
from tests.verdict.test_degenerate_rows import (
    CATEGORIES,
    DAY_S,
    EXAMPLES,
    START,
    Shape,
    Users,
    judged_by,
    rubric,
    sample_of,
)
from verdict.decision.document import Report
from verdict.decision.plan_course import look_ends
from verdict.decision.verdict import build
from verdict.sample.sample import Ratings
from verdict.statistics.types import Floats, Ints

Triple = tuple[str, float | None, float | None, float | None]


def _habits(requests: Ints, candidate: int, phases: int) -> Users:
    """Users with so many requests each over three days, of whom the first ones have the candidate."""
    unit = np.repeat(np.arange(len(requests)), requests)
    day = np.linspace(0, 3, len(unit), endpoint=False)[np.random.default_rng(1).permutation(len(unit))]
    order = np.argsort(day, kind="stable")
    unit, day = unit[order], day[order]
    phase = (day * phases / 3).astype(np.int64)
    return Users(unit=unit, candidate=unit < candidate, phase=phase, day=day)


def _triples(report: Report) -> Iterator[Triple]:
    """Every value of the report with the ends that are shown beside it: what it is of, low, value, high."""
    for line in report.metrics:
        yield f"{line.metric} by the looks", *_around(look_ends(line), line.candidate)
        yield f"{line.metric} at any time", *_around(line.candidate_interval, line.candidate)
        found = line.difference
        yield f"{line.metric} against the baseline", found.low, found.estimate, found.high
    for part in (*report.categories, *report.segments):
        found = part.difference
        yield f"{part.metric} in {part.value}", found.low, found.estimate, found.high
    for course in (*report.details.over_time, *report.details.looks):
        for point in course.points:
            yield f"{course.metric} on day {point.day}", point.low, point.estimate, point.high


def _around(ends: tuple[float | None, float | None], value: float | None) -> tuple[float | None, ...]:
    return ends[0], value, ends[1]


def _outside(report: Report) -> list[Triple]:
    """The values that do not lie between their ends."""

    def beyond(low: float | None, high: float | None) -> bool:
        return low is not None and high is not None and low - high > 1e-9 * max(abs(low), abs(high))

    return [each for each in _triples(report) if beyond(each[1], each[2]) or beyond(each[2], each[3])]


def _few(failing: float, uneven: float) -> Shape:
    """The users with the most requests fail often, so that most users never do; each has its own size."""

    def value(of: Users) -> Floats:
        rng = np.random.default_rng(3)
        requests = np.bincount(of.unit)
        busy = np.argsort(np.argsort(-requests)) < failing * len(requests)
        size = np.exp(uneven * rng.normal(size=len(requests)))
        bad = rng.random(len(of)) < np.where(busy, 0.3, 0.0)[of.unit]
        return np.where(bad, 8.0, 0.1) * (0.5 + 0.1 * np.minimum(size, 4.0)[of.unit])

    return value


PER_EVENT: Mapping[str, Metric] = {
    "solved": Metric(name="solved", kind="bool", low=0, high=1, question="", per="session"),
    "price": Metric(name="price", kind="amount", question="", cost_per="solved", higher_is_better=False),
}
PRICES = rubric((("price", "< 0.3", "< 0.1"), ("price", "<= 1.2x baseline", "<= 0.9x baseline")))
BEFORE: Mapping[str, Shape | None] = {"nothing": None, "a habit": _few(0.5, 1.0)}
"""What is known of users from the time before the canary."""


@given(
    seed=st.integers(0, 1000),
    failing=st.sampled_from([0.02, 0.1, 0.4]),
    uneven=st.sampled_from([0.2, 1.5]),
    phases=st.sampled_from([1, 2]),
    category=st.sampled_from(sorted(CATEGORIES)),
    before=st.sampled_from(sorted(BEFORE)),
    planned=st.sampled_from([0, 2]),
)
@settings(EXAMPLES, max_examples=examples(60))
@example(0, 0.1, 1.5, 1, "many", "nothing", 2)
def test_every_value_lies_in_the_interval_that_is_shown_with_it(
    seed: int, failing: float, uneven: float, phases: int, category: str, before: str, planned: int
) -> None:
    rng = np.random.default_rng(seed)
    requests = np.ceil(3 * np.exp(uneven * rng.normal(size=320))).astype(np.int64)
    users = _habits(requests, 130, phases)
    sample = sample_of(users, _few(failing, uneven), category, BEFORE[before])
    solved = np.flatnonzero(rng.random(len(users)) < 0.5)
    said = Ratings(row=solved, value=np.ones(len(solved)), at=sample.first_at[solved])
    canary = judged_by(planned)
    report = build(
        replace(sample, feedback={**sample.feedback, "solved": said}),
        replace(canary, criteria=(*canary.criteria, *PRICES), metrics={**canary.metrics, **PER_EVENT}),
        now=START + 10 * DAY_S,
    )
    assert {line.metric for line in report.metrics if line.candidate is None} <= {"judged_preference"}
    assert not _outside(report)


def test_a_share_of_few_users_is_the_one_that_decides() -> None:
    """140 of 150 users make one request each, which does not fail; ten make 20, of which 9 fail each."""
    requests = np.concatenate([np.ones(140), np.full(10, 20), np.full(150, 4)]).astype(np.int64)
    users = _habits(requests, 150, 1)
    turn = np.zeros(len(users), dtype=np.int64)
    for unit in range(300):
        turn[users.unit == unit] = np.arange(requests[unit])
    fails = (turn < 9) & (users.unit >= 140) & users.candidate
    sample = sample_of(users, lambda of: np.where(fails, 9.0, 0.1), "none", None)
    canary = replace(judged_by(2), criteria=rubric((("error_rate", "< 5%", "< 1%"),)))
    report = build(sample, canary, now=START + 10 * DAY_S)
    (line,) = report.metrics
    assert line.candidate == pytest.approx(90 / 340)
    assert not _outside(report)
    assert "26.5 %" in rendered(report, "text")
    assert line.by_users is not None
    assert line.by_users.candidate == pytest.approx(10 * 0.45 / 150)
