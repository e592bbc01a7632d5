"""The chart of a rollback's evidence over time. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerts.figures.rollback import LIMITS, Point

WIDTH, HEIGHT = 600.0, 180.0
_ROOM = 1.1


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """One statistic: a polyline's points, and the position and label of its limit."""

    points: str
    limit_y: float
    limit: str


@dataclass(frozen=True, slots=True)
class EvidenceCourse:
    """Both statistics in an area of WIDTH × HEIGHT, from `start` to `end` in UTC seconds."""

    whole: EvidenceLine
    since: EvidenceLine
    start: float
    end: float


def reach(path: Sequence[Point], limits: Mapping[str, float] = LIMITS) -> EvidenceCourse | None:
    """The chart, on a logarithmic scale; None for fewer than two points. `limits` as in RollbackEvidence."""
    if len(path) < 2:
        return None
    start, end = path[0].at, path[-1].at
    top = _ROOM * max(limits["ln_cusum"], *(max(each.ln_mixture, each.ln_cusum) for each in path))

    def y(value: float) -> float:
        return round(HEIGHT * (1 - max(0.0, value) / top), 1)

    def line(values: Sequence[float], limit: float) -> EvidenceLine:
        across = [WIDTH * (each.at - start) / ((end - start) or 1.0) for each in path]
        points = " ".join(f"{x:.1f},{y(value)}" for x, value in zip(across, values, strict=True))
        return EvidenceLine(points, y(limit), f"{math.exp(limit):,.0f}")

    return EvidenceCourse(
        whole=line([each.ln_mixture for each in path], limits["ln_mixture"]),
        since=line([each.ln_cusum for each in path], limits["ln_cusum"]),
        start=start,
        end=end,
    )
