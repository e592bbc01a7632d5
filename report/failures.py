"""Ways to fail, counted for both arms: error types, slow answers, bad ratings by category. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from records.metric import Metric
from report.details import FailureMode, Failures
from report.recent import Recent, Seen, displeased
from report.sample import Sample

MODES = 12
EXAMPLES = 3


def failures(sample: Sample, metrics: Mapping[str, Metric]) -> Failures | None:
    """The worst MODES of them; None where no exchange was looked at."""
    recent = sample.recent
    if recent is None or not recent.exchanges:
        return None
    of = Counter(seen.candidate for seen in recent.exchanges)
    slow_s = _slow(recent.exchanges)
    modes = [*_errors(recent, of), *_slower(recent, slow_s), *_ratings(sample, recent, metrics)]
    times = [seen.at for seen in recent.exchanges]
    return Failures(
        since=_moment(min(times)),
        until=_moment(max(times)),
        baseline=of[False],
        candidate=of[True],
        slow_s=slow_s,
        modes=tuple(sorted(modes, key=lambda mode: -mode.excess)[:MODES]),
    )


def _errors(recent: Recent, of: Mapping[bool, int]) -> Iterator[FailureMode]:
    found: dict[str, list[Seen]] = defaultdict(list)
    for seen in recent.exchanges:
        if seen.error_type is not None:
            found[seen.error_type].append(seen)
    for name, failed in sorted(found.items()):
        arms = Counter(seen.candidate for seen in failed)
        yield FailureMode(
            kind="error",
            name=name,
            category="",
            baseline=arms[False],
            baseline_of=of[False],
            candidate=arms[True],
            candidate_of=of[True],
            examples=_examples(failed),
        )


def _slow(exchanges: Sequence[Seen]) -> float | None:
    """What 99 % of the baseline's are faster than; None with too few to tell."""
    times = [seen.latency_s for seen in exchanges if seen.latency_s is not None and not seen.candidate]
    if len(times) < 100:
        return None
    return float(np.quantile(times, 0.99, method="inverted_cdf"))


def _slower(recent: Recent, slow_s: float | None) -> Iterator[FailureMode]:
    timed = [(seen, seen.latency_s) for seen in recent.exchanges if seen.latency_s is not None]
    slow = [seen for seen, latency_s in timed if slow_s is not None and latency_s > slow_s]
    if not slow:
        return
    arms, of = (Counter(seen.candidate for seen in some) for some in (slow, [seen for seen, _ in timed]))
    yield FailureMode(
        kind="slow",
        name="latency",
        category="",
        baseline=arms[False],
        baseline_of=of[False],
        candidate=arms[True],
        candidate_of=of[True],
        examples=_examples(slow),
    )


def _ratings(sample: Sample, recent: Recent, metrics: Mapping[str, Metric]) -> Iterator[FailureMode]:
    """Bad ratings of the whole run, by metric and category."""
    examples: dict[tuple[str, str], list[str]] = defaultdict(list)
    for complaint in recent.complaints:
        examples[complaint.metric, complaint.category].append(complaint.name)
    for name, ratings in sample.feedback.items():
        if name not in metrics:
            continue
        scale, value = np.unique(ratings.value, return_inverse=True)
        bad = np.array([displeased(metrics[name], each) for each in scale.tolist()], dtype=np.float64)[value]
        place = sample.category.code[ratings.row] * 2 + sample.candidate[ratings.row]
        size = 2 * len(sample.category.names)
        every = np.bincount(place, minlength=size).reshape(-1, 2).tolist()
        poor = np.bincount(place, weights=bad, minlength=size).reshape(-1, 2).tolist()
        for category, of, found in zip(sample.category.names, every, poor, strict=True):
            if any(found):
                yield FailureMode(
                    kind="rating",
                    name=name,
                    category=category,
                    baseline=int(found[0]),
                    baseline_of=of[0],
                    candidate=int(found[1]),
                    candidate_of=of[1],
                    examples=tuple(examples[name, category][:EXAMPLES]),
                )


def _examples(failed: Sequence[Seen]) -> tuple[str, ...]:
    return tuple(seen.name for seen in failed if seen.candidate)[:EXAMPLES]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
