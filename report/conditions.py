"""What holds a row of the rubric open whatever its values say: costs that are not known, and labels that do
not bear out its judge."""

from collections.abc import Sequence

from judge.agreement import FEWEST_LABELS, NEEDED_LABELS, borne_out, with_people
from records.facts.metric import JUDGED, JUDGED_PREFERENCE
from report.details import UnknownCosts
from report.measures import source
from report.missing_exchanges import MissingShare, unpriced
from report.reasons import CostsUnknown, NotBorneOut
from report.rubric import Criterion
from report.sample import Sample

MOST_UNPRICED = 0.01
"""The largest share of answered exchanges without a known cost with which a cost row is still decided."""


def condition(criterion: Criterion, sample: Sample, *, enough: bool) -> CostsUnknown | NotBorneOut | None:
    """What holds the row open; None if nothing does. `enough`: its users are there."""
    metric = criterion.metric
    if metric in JUDGED:
        agreement = with_people(sample.judged)
        # There are no labels of single answers, so a row on marks is always open.
        if metric == JUDGED_PREFERENCE and borne_out(agreement):
            return None
        return NotBorneOut(metric=metric, agreement=agreement, enough=enough)
    found = unpriced(sample) if source(metric) == "cost" else None
    if found is None or not _too_many(found, relative=criterion.acceptable.relative):
        return None
    return CostsUnknown(metric=metric, share=found)


def _too_many(found: MissingShare, *, relative: bool) -> bool:
    """More than MOST_UNPRICED of an arm that the bound needs, or more in one arm than in the other: of the
    baseline only for a bound against it. The missing costs may be the dear ones."""
    ours = found.candidate > MOST_UNPRICED or (found.different and found.candidate > found.baseline)
    theirs = found.baseline > MOST_UNPRICED or found.different
    return ours or (theirs and relative)


def labels_needed(criteria: Sequence[Criterion]) -> int:
    """The labels that the judge's word takes: more where a row of the rubric is on it."""
    return NEEDED_LABELS if any(row.metric == JUDGED_PREFERENCE for row in criteria) else FEWEST_LABELS


def unknown_costs(criteria: Sequence[Criterion], sample: Sample) -> UnknownCosts | None:
    """How many costs are not known, if too many are: in either arm, or more in one than in the other. None
    for a canary without a row on costs and without any known cost."""
    found = unpriced(sample)
    if found is None or not (max(found.candidate, found.baseline) > MOST_UNPRICED or found.different):
        return None
    rows = any(source(row.metric) == "cost" for row in criteria)
    if not rows and min(found.candidate, found.baseline) >= 1:
        return None
    return UnknownCosts(candidate=found.candidate, baseline=found.baseline)
