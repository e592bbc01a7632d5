"""The score, from 0 to 100: a summary for ranking. It does not decide."""

from collections.abc import Sequence

from report.document import Score
from report.row import Row


def points(progress: float) -> float:
    """s = 0 below acceptable, else 60 + 40·min(1, progress), with progress = (v−A)/(I−A)."""
    return 0.0 if progress < 0 else 60 + 40 * min(1.0, progress)


def score(rows: Sequence[Row]) -> Score:
    """The weighted score at the low ends, the estimates and the high ends of the intervals.

    A metric without data, or held open, counts 0 in `low`, 100 in `high`, and is left out of `estimate`,
    which is clamped between the two.
    """
    if not rows:
        return Score(low=0.0, estimate=None, high=100.0)
    ends = [_ends(row) for row in rows]
    weights = [row.criterion.weight for row in rows]
    whole = sum(weights)
    low = sum(w * end[0] for w, end in zip(weights, ends, strict=True)) / whole
    high = sum(w * end[2] for w, end in zip(weights, ends, strict=True)) / whole
    known = [(w, end[1]) for w, end in zip(weights, ends, strict=True) if end[1] is not None]
    if not known:
        return Score(low=low, estimate=None, high=high)
    estimate = sum(w * middle for w, middle in known) / sum(w for w, _ in known)
    return Score(low=low, estimate=min(max(estimate, low), high), high=high)


def _ends(row: Row) -> tuple[float, float | None, float]:
    acceptable, ideal = row.acceptable, row.ideal
    if acceptable is None or ideal is None or row.held is not None:
        return 0.0, None, 100.0
    # Both margins are v − bound in one unit, so their difference is the distance from acceptable to ideal.
    distance = acceptable.estimate - ideal.estimate

    def at(margin: float) -> float:
        if distance <= 0:
            return points(1.0 if margin >= 0 else -1.0)
        return points(margin / distance)

    return at(acceptable.low), at(acceptable.estimate), at(acceptable.high)
