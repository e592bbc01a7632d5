"""Feedback metrics: the kinds of values that apps report about an exchange, and the built-in metrics."""

from dataclasses import dataclass
from typing import Literal

LARGEST = 1e15
"""Largest absolute value accepted, so that squares of mistaken values do not overflow a float."""

MetricKind = Literal["bool", "rating", "nps", "count", "amount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A feedback metric.

    `low` and `high` bound its values (None: unbounded). `question` is the business question that it answers.
    `matures_after_s` is the time from a unit's first exposure until its value is complete.
    """

    name: str
    kind: MetricKind
    question: str
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    matures_after_s: float = 0.0


def _bool(name: str, question: str, *, higher_is_better: bool = True, days: float = 0) -> Metric:
    return Metric(
        name=name,
        kind="bool",
        question=question,
        low=0,
        high=1,
        higher_is_better=higher_is_better,
        matures_after_s=days * 86400,
    )


BUILT_IN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="csat", kind="rating", low=1, high=5, question="Are users satisfied with the answers?"),
        Metric(name="nps", kind="nps", low=0, high=10, question="Would users recommend us?"),
        _bool("thumbs", "Do users like the single answer?"),
        _bool("helped", "Did the answer help?"),
        _bool("escalated", "Did the user need a human after all?", higher_is_better=False),
        _bool("repeat_question", "Did the user have to ask again?", higher_is_better=False),
        _bool("task_completed", "Did the user get done what they came for?"),
        _bool("conversion", "Did the user buy?"),
        Metric(name="revenue", kind="amount", question="How much did the user spend?"),
        _bool("churn", "Did the user leave us?", higher_is_better=False),
        _bool("compliance_violation", "Did an answer break a rule we must keep?", higher_is_better=False),
    )
}

JUDGED_PREFERENCE, JUDGED_MARK = "judged_preference", "judged_mark"

JUDGED: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _bool(JUDGED_PREFERENCE, "Are the candidate's answers better?"),
        Metric(name=JUDGED_MARK, kind="rating", low=1, high=5, question="Are the answers good?"),
    )
}
"""The metrics that a judge measures, not apps. A preference is 1 for a pair of answers of which the
candidate's is better, .5 for a tie, and 0 otherwise."""
