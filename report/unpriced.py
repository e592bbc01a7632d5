"""Keeps a cost row open while an arm's costs are not known: the missing ones may be the dear ones."""

from collections.abc import Sequence
from dataclasses import replace

from report.details import UnknownCosts
from report.judge import Judged
from report.measures import source
from report.missing_exchanges import MissingShare, unpriced
from report.sample import Sample
from report.wording import amount, title

MOST = 0.01
"""The largest share of answered exchanges without a known cost with which a cost row is still decided."""


def unless_priced(judged: Judged, sample: Sample) -> Judged:
    """The row as it is, or INCONCLUSIVE if it is a cost row and too many costs are missing.

    Too many are more than MOST of an arm that the bound needs, or more in one arm than in the other: of the
    baseline only for a bound against it.
    """
    found = unpriced(sample) if source(judged.criterion.metric) == "cost" else None
    if found is None:
        return judged
    ours = found.candidate > MOST or (found.different and found.candidate > found.baseline)
    theirs = found.baseline > MOST or found.different
    if not (ours or (theirs and judged.criterion.acceptable.relative)):
        return judged
    return replace(judged, state="NODATA" if judged.state == "NODATA" else "INCONCLUSIVE", unpriced=found)


def unknown_costs(judged: Sequence[Judged], sample: Sample) -> UnknownCosts | None:
    """How many costs are not known, if too many are: in either arm, or more in one than in the other. None
    for a canary without a row on costs and without any known cost."""
    found = unpriced(sample)
    if found is None or not (max(found.candidate, found.baseline) > MOST or found.different):
        return None
    rows = any(source(row.criterion.metric) == "cost" for row in judged)
    if not rows and min(found.candidate, found.baseline) >= 1:
        return None
    return UnknownCosts(candidate=found.candidate, baseline=found.baseline)


def not_judged(metric: str, found: MissingShare) -> str:
    """Why the row is open, and what to do, in words."""
    ours, theirs = amount(found.candidate, "share"), amount(found.baseline, "share")
    differs = f" (p = {found.p_value:.2g})" if found.different else ""
    return (
        f"{title(metric)} cannot be judged: {ours} of the candidate's answered requests and {theirs} of the "
        f"baseline's have no known cost{differs}. More users will not change this: set the missing prices "
        "under `prices:` or `price_as:` (in a log: fill cost_usd)."
    )
