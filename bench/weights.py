"""Each category's share of the captured exchanges."""

from collections.abc import Iterable

from records.capture import Capture, CaptureInfo


def shares(captures: Iterable[Capture]) -> dict[str, float]:
    """Each category's share of the exchanges that the captures stand for, in [0, 1]; {} without captures.

    One kept by the rate stands for 1 / rate exchanges, one kept for its category for itself (Horvitz and
    Thompson 1952): so the quota that makes rare categories frequent among captures is taken out again.
    """
    counts: dict[str, float] = {}
    for capture in captures:
        about = capture.about
        counts[about.category] = counts.get(about.category, 0.0) + _stands_for(about)
    total = sum(counts.values())
    return {category: counts[category] / total for category in sorted(counts)}


def _stands_for(about: CaptureInfo) -> float:
    return 1.0 / about.rate if about.kept == "rate" and about.rate else 1.0
