"""Says where one arm's values are missing more often than the other's, and where values were cut."""

from collections.abc import Sequence

from report.comparison import Bracketed
from report.measures import source
from report.metrics import Observations
from report.missing_exchanges import abandoned
from report.reasons import Abandoned, Capped, UnequalResponse
from report.response_rate import response
from report.row import Row
from report.rubric import Criterion
from report.sample import Sample

_LACK = ("cost", "tokens", "latency", "ttft")
"""The measures that an abandoned exchange lacks."""


def unequal_response(sample: Sample, observed: Observations, row: Row) -> UnequalResponse | None:
    """The caveat for feedback that one arm's users give more often; None if the rates do not differ."""
    if not observed.feedback:
        return None
    found = response(sample, observed)
    if not found.different or found.p_value is None:
        return None
    return UnequalResponse(
        metric=row.metric,
        acceptable=row.criterion.acceptable.text,
        rates=found.rates,
        phases=found.phases,
        p_value=found.p_value,
        ends=_ends(row),
    )


def _ends(row: Row) -> tuple[float, float] | None:
    comparison = row.reading.comparison
    if not isinstance(comparison, Bracketed):
        return None
    low, high = sorted(case.contrast(1, 0).estimate for case in comparison.trimmed)
    return low, high


def unequal_abandonment(sample: Sample, criteria: Sequence[Criterion]) -> Abandoned | None:
    """The caveat for requests that callers abandon more often in one arm, with the metrics that lack them;
    None if the shares do not differ."""
    lost = abandoned(sample)
    if lost is None or not lost.different:
        return None
    lacking = tuple(row.metric for row in criteria if source(row.metric) in _LACK)
    return Abandoned(share=lost, lacking=lacking)


def capped(observed: Observations, criterion: Criterion) -> Capped | None:
    """The note for amounts that were cut; None if none was."""
    at = observed.capped_at
    return (
        None if at is None else Capped(metric=criterion.metric, acceptable=criterion.acceptable.text, at=at)
    )
