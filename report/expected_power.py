"""The power of a rubric before the run, for `canary check`: how often it would ship a good candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

from report.judged_canary import JudgedCanary
from report.power import Assumptions, Power, Traffic, asked_for, expected_power

_RATED = f" This assumes that one request in {1 / Assumptions().asked:.0f} is rated."

REQUESTS = (1.0, 3.0, 8.0)
"""Requests per user, if not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The chances at the last step's share, with `users` in both arms, by requests per user. `rated`: they
    depend on how many people give a rating."""

    canary: str
    users: int
    share: float
    at: tuple[tuple[float, Power], ...]
    rated: bool


def expected(
    judged: JudgedCanary, share: float, *, users: int, requests: Sequence[float] = REQUESTS
) -> Expected | None:
    """None for a canary without a rubric, or with a share of 100 %."""
    if not judged.criteria or not 0 < share < 1:
        return None
    return Expected(
        canary=judged.name,
        users=users,
        share=share,
        at=tuple(
            (
                per_unit,
                expected_power(
                    judged.criteria,
                    Traffic(units=users, share=share, requests_per_unit=per_unit),
                    metrics=judged.metrics,
                    planned_units=judged.planned_units,
                ),
            )
            for per_unit in requests
        ),
        rated=any(asked_for(criterion.metric, judged.metrics) for criterion in judged.criteria),
    )


def document(found: Expected) -> dict[str, object]:
    """JSON types only."""
    return {
        "users": found.users,
        "share": found.share,
        "at": [
            {
                "requests_per_user": requests,
                "ship": round(power.ship, 3),
                "criteria": {chance.metric: round(chance.power, 3) for chance in power.criteria},
            }
            for requests, power in found.at
        ],
    }


def sentence(found: Expected) -> str:
    """The chances for the terminal, and the criterion with the lowest."""
    chances = ", ".join(f"{power.ship:.0%} with {requests:g}" for requests, power in found.at)
    weakest = min(found.at[0][1].criteria, key=lambda chance: chance.power)
    return (
        f"{found.canary}: after {found.users:,} users at a share of {found.share * 100:.3g}%, a candidate "
        f"halfway between acceptable and ideal ships with this chance, by requests per user: {chances}. "
        f"Otherwise the verdict is extend, most often because of {weakest.metric}."
        f"{_RATED if found.rated else ''}"
    )
