"""Says where one arm's values are missing more often than the other's, and where values were cut."""

from collections.abc import Sequence

from report.comparison import Bracketed
from report.judge import Judged
from report.measures import source
from report.metrics import Observations
from report.missing_exchanges import abandoned
from report.response_rate import response
from report.rubric import Criterion
from report.sample import Sample
from report.wording import amount, between, joined, label, title, unit_of

_LACK = ("cost", "tokens", "latency", "ttft")
"""The measures that an abandoned exchange lacks."""


def unequal_response(sample: Sample, observed: Observations, judged: Judged) -> str | None:
    """The caveat for feedback that one arm's users give more often; None if the rates do not differ."""
    if not observed.feedback:
        return None
    found = response(sample, observed)
    if not found.different or found.p_value is None:
        return None
    metric = judged.criterion.metric
    ours, theirs = (amount(rate, "share") for rate in found.rates)
    when = " in the same phases of the ramp" if found.phases > 1 else ""
    return (
        f"{title(metric)}: {ours} of the candidate's users gave a value, {theirs} of the baseline's{when} "
        f"(p = {found.p_value:.2g}). {_bounds(judged)}"
    )


def _bounds(judged: Judged) -> str:
    comparison, criterion = judged.reading.comparison, judged.criterion
    if not isinstance(comparison, Bracketed):
        return "The missing values may hide a difference."
    low, high = sorted(case.contrast(1, 0).estimate for case in comparison.trimmed)
    ends = between(low, high, unit_of(criterion.metric, criterion.acceptable.text))
    return (
        f"In the worst and the best case of the missing values the difference is {ends}; the interval spans "
        "both."
    )


def unequal_abandonment(sample: Sample, criteria: Sequence[Criterion]) -> str | None:
    """The caveat for requests that callers abandon more often in one arm, with the metrics that lack them;
    None if the shares do not differ."""
    lost = abandoned(sample)
    if lost is None or not lost.different:
        return None
    ours, theirs = amount(lost.candidate, "share"), amount(lost.baseline, "share")
    lacking = [label(row.metric) for row in criteria if source(row.metric) in _LACK]
    spans = f" They are missing from {joined(lacking)}, and the intervals span the worst and the best case."
    return (
        f"Callers abandoned {ours} of the candidate's requests and {theirs} of the baseline's "
        f"(p = {lost.p_value:.2g}).{spans if lacking else ''}"
    )


def capped(observed: Observations, criterion: Criterion) -> str | None:
    """The note for amounts that were cut; None if none was."""
    if observed.capped_at is None:
        return None
    cap = amount(observed.capped_at, unit_of(criterion.metric, criterion.acceptable.text))
    return (
        f"{title(criterion.metric)}: values are capped at the baseline's 99.9th percentile, {cap}, so the "
        "means shown are those of the capped values."
    )
