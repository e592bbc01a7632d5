"""Made-up figures of a judge, for what people see of them."""

from dataclasses import replace

from common.interval import Interval, Range
from judge.figures import (
    JudgedArms,
    JudgedCategory,
    JudgedMarks,
    JudgedSessions,
    JudgeFigures,
    LabelAgreement,
    LostExample,
)

NO_LABELS = LabelAgreement(labels=0, share=None, kappa=None)


def _range(low: float, estimate: float, high: float) -> Range:
    return Range(low=low, estimate=estimate, high=high)


def _interval(low: float, estimate: float, high: float) -> Interval:
    return Interval(low=low, estimate=estimate, high=high)


FULL = JudgeFigures(
    provider="anthropic",
    model="claude-opus-5",
    words_sha256="9f2c41d07ab3e6559f2c41d07ab3e6559f2c41d07ab3e6559f2c41d07ab3e655",
    pairs=415,
    no_mark=3,
    judged_preference=_range(0.49, 0.54, 0.59),
    categories=(
        JudgedCategory(value="refund", pairs=61, judged_preference=_range(0.22, 0.33, 0.45)),
        JudgedCategory(value="billing", pairs=240, judged_preference=_range(0.55, 0.61, 0.67)),
        JudgedCategory(value="login", pairs=11, judged_preference=None),
    ),
    agreement=LabelAgreement(labels=140, share=_interval(0.74, 0.81, 0.87), kappa=_interval(0.5, 0.62, 0.74)),
    people=LabelAgreement(labels=40, share=_interval(0.7, 0.85, 0.94), kappa=_interval(0.5, 0.7, 0.9)),
    order_decided=0.12,
    prefers_longer=0.63,
    prefers_own_vendor=0.58,
    cost_usd=3.1234,
    lost=tuple(
        LostExample(
            exchange_id=f"AQIABmE5hhqvrQAAAAEAAAAB_ouHCMHjg0{number:02d}WkxkY",
            category="refund",
            reason=reason,
        )
        for number, reason in enumerate(
            (
                "A states the 14 days of the policy; B promises 30, which the policy does not have.",
                "B asks for the order number that the customer gave already.",
                "",
                "A is complete.",
                "A names the right form.",
                "A sixth reason.",
            )
        )
    ),
)
FEW = replace(
    FULL,
    pairs=12,
    no_mark=0,
    judged_preference=None,
    categories=(JudgedCategory(value="billing", pairs=12, judged_preference=None),),
    agreement=LabelAgreement(labels=9, share=None, kappa=None),
    people=NO_LABELS,
    prefers_own_vendor=None,
    lost=(),
)
NONE = replace(
    FEW, pairs=0, categories=(), agreement=NO_LABELS, order_decided=None, prefers_longer=None, cost_usd=0.0
)
MARKS = replace(
    NONE,
    cost_usd=1.5,
    marks=JudgedMarks(
        answers=380,
        baseline=_range(3.95, 4.05, 4.15),
        candidate=_range(4.01, 4.12, 4.22),
        difference=_range(-0.08, 0.07, 0.22),
    ),
)
SESSIONS = replace(
    NONE,
    cost_usd=2.5,
    judged_session=JudgedSessions(
        sessions=96,
        no_mark=2,
        mark=JudgedArms(
            baseline=_range(3.6, 4.1, 4.4),
            candidate=_range(3.1, 3.7, 4.1),
            difference=_range(-1.1, -0.4, 0.2),
        ),
        done=JudgedArms(
            baseline=_range(0.7, 0.84, 0.93),
            candidate=_range(0.6, 0.75, 0.86),
            difference=_range(-0.3, -0.09, 0.1),
        ),
    ),
)
