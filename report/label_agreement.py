"""How often two labellers of the same pairs agree: a judge with people, or one person with another. Pure."""

from collections.abc import Sequence

from records.agreement import FEWEST_LABELS, kappa
from records.labels import Better
from records.wilson import wilson
from report.details import Range
from report.judge_figures import LabelAgreement

Vote = Better


def agreement(votes: Sequence[tuple[Vote, Vote]]) -> LabelAgreement:
    """The share of equal votes with Wilson's 95 % interval, and Cohen's kappa with its own. Nothing below
    FEWEST_LABELS."""
    if len(votes) < FEWEST_LABELS:
        return LabelAgreement(labels=len(votes), share=None, kappa=None)
    equal = sum(first == second for first, second in votes)
    low, high = wilson(equal, len(votes))
    return LabelAgreement(
        labels=len(votes),
        share=Range(low=low, estimate=equal / len(votes), high=high),
        kappa=_kappa(votes),
    )


def _kappa(votes: Sequence[tuple[Vote, Vote]]) -> Range | None:
    """None if either gives always the same vote: nothing shows that the two look at the same thing."""
    found = kappa(votes) if min(len(set(voter)) for voter in zip(*votes, strict=True)) > 1 else None
    return None if found is None else Range(low=found[0], estimate=found[1], high=found[2])
