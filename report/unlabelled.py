"""Keeps a row on a judge's word open until people's labels show that the word is worth something."""

from collections.abc import Sequence
from dataclasses import replace

from judge.agreement import FEWEST_LABELS, NEEDED_LABELS, WORTH, LabelAgreement, borne_out
from records.facts.metric import JUDGED, JUDGED_PREFERENCE
from report.judge import Judged
from report.rubric import Criterion
from report.wording import title

PAIRS_INSTEAD = "use `mirror` and `judge: {pairs: …}`, with a row on judged_preference"
"""What to do instead of a row on marks."""


def unless_labelled(judged: Judged, agreement: LabelAgreement) -> Judged:
    """The row as it is, or INCONCLUSIVE if it is on a judge's word that people's labels do not bear out.

    There are no labels of single answers, so a row on marks is always open.
    """
    metric = judged.criterion.metric
    if metric not in JUDGED or (metric == JUDGED_PREFERENCE and borne_out(agreement)):
        return judged
    return replace(judged, state="NODATA" if judged.state == "NODATA" else "INCONCLUSIVE", waits=agreement)


def labels_needed(criteria: Sequence[Criterion]) -> int:
    """The labels that the judge's word takes: more where a row of the rubric is on it."""
    return NEEDED_LABELS if any(row.metric == JUDGED_PREFERENCE for row in criteria) else FEWEST_LABELS


def not_borne_out(metric: str, agreement: LabelAgreement, *, enough: bool) -> str:
    """Why the row is open, and what to do, in words. `enough`: its users are there, and labels are all that
    is missing."""
    if metric != JUDGED_PREFERENCE:
        return (
            f"{title(metric)} is shown but decides nothing: people label pairs of answers, not single ones, "
            f"so nothing shows what these marks are worth. To decide: {PAIRS_INSTEAD}."
        )
    if agreement.labels < NEEDED_LABELS:
        return (
            f"{title(metric)} waits for people: {agreement.labels} of {NEEDED_LABELS} labels of the judge's "
            f"pairs. {'Traffic alone will not do: label' if enough else 'Label'} pairs on the page."
        )
    return (
        f"{title(metric)} is not judged: people and the judge agree too little, {_kappa(agreement)}; "
        f"{WORTH} is required. Change the judge or its criteria."
    )


def _kappa(agreement: LabelAgreement) -> str:
    """κ 0.21 (0.05 to 0.37) on 64 labels."""
    found = agreement.kappa
    on = f"on {agreement.labels} labels"
    if found is None:
        return f"κ cannot be computed {on}, because all of the judge's or of people's are the same"
    ends = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"κ {found.estimate:.2f}{ends} {on}"
