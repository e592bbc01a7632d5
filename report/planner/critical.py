"""What a canary's critical parts need: enough users of their own, or the verdict is to extend."""

from dataclasses import dataclass

from report.arm_sums import GATE
from report.planner.assumptions import believed
from report.planner.exposure import Sizes
from report.planner.prospect import Prospect
from report.rubric import Criterion
from report.wording import joined


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalNeed:
    """The canary's critical `parts` in words, and the rubric's `metric` with the fewest users with a value.

    `share` is the least share of all users, in [0, 1], that gives a part the users that it needs by the last
    planned day; None if not even all users would.
    """

    parts: str
    metric: str
    share: float | None


def critical_need(prospect: Prospect) -> CriticalNeed | None:
    """What each critical category or segment needs; None for a canary without any."""
    parts = _parts(prospect)
    if not parts:
        return None
    units = {row.metric: _units(prospect, row) for row in prospect.judged.criteria}
    rarest = min(units, key=lambda metric: units[metric])
    share = GATE / units[rarest] if units[rarest] >= GATE else None
    return CriticalNeed(parts=parts, metric=rarest, share=share)


def _parts(prospect: Prospect) -> str:
    judged = prospect.judged
    categories, segments = len(judged.critical_categories), len(judged.critical_segments)
    named = [
        *([f"{categories} critical {'category' if categories == 1 else 'categories'}"] if categories else []),
        *([f"{segments} critical {'segment' if segments == 1 else 'segments'}"] if segments else []),
    ]
    return joined(named) if named else ""


def _units(prospect: Prospect, row: Criterion) -> float:
    """The users with a value of the row in the smaller arm by the last planned day."""
    response = believed(row, prospect.assumptions, prospect.judged.metrics).response
    met = prospect.course.until(prospect.days - prospect.judged.days_to_mature(row))
    return min(met.candidate, met.baseline) * Sizes.of(prospect.expected.requests, response).answers
