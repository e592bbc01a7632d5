"""A canary's critical parts in a plan: each must get enough users of its own, or the verdict is to extend."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from report.arm_sums import GATE
from report.judged_canary import JudgedCanary
from report.planner.assumptions import Assumptions, believed
from report.planner.exposure import Course, Sizes
from report.rubric import Criterion

USUAL_PART = 0.1
"""The share of users that a critical part is taken to have, where nobody said and nothing was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartChance:
    """The chance that a critical part has enough users of each arm with a value of every row.

    `name` is `category:refund` or `segment:plan=enterprise`. `share` is its part of all users. `metric` is
    the row with the fewest values, and `units` the expected users with one in the smaller arm.
    """

    name: str
    share: float
    metric: str
    units: float
    chance: float

    @property
    def words(self) -> str:
        """The part in words: category refund."""
        return self.name.replace(":", " ", 1)


def part_names(judged: JudgedCanary) -> tuple[str, ...]:
    """The names of the critical parts: categories first, each kind in order."""
    return (
        *(f"category:{value}" for value in sorted(judged.critical_categories)),
        *(f"segment:{tag}={value}" for tag, value in sorted(judged.critical_segments)),
    )


def part_chances(
    judged: JudgedCanary, course: Course, assumptions: Assumptions, day: float
) -> Sequence[PartChance]:
    """Each critical part's chance by this day. Users come as a Poisson process."""
    rarest, units = min(
        ((row.metric, _units(judged, row, course, assumptions, day)) for row in judged.criteria),
        key=lambda found: found[1],
    )
    return [
        PartChance(
            name=name,
            share=(share := assumptions.parts.get(name, USUAL_PART)),
            metric=rarest,
            units=units * share,
            chance=float(special.gammainc(GATE, units * share)),
        )
        for name in part_names(judged)
    ]


def _units(
    judged: JudgedCanary, row: Criterion, course: Course, assumptions: Assumptions, day: float
) -> float:
    """The users with a value of the row in the smaller arm by the day."""
    response = believed(row, assumptions, judged.metrics).response
    met = course.until(day - judged.days_to_mature(row))
    return min(met.candidate, met.baseline) * Sizes.of(course.requests, response).answers
