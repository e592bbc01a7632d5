"""What `canary check` says of a rubric beforehand: how often it would ship a candidate that deserves it."""

from collections.abc import Sequence
from dataclasses import dataclass

from report.judged_canary import JudgedCanary
from report.power import Assumptions, Power, Traffic, asked_for, expected_power

_RATED = f" Taken for granted: one request in {1 / Assumptions().asked:.0f} is rated."

REQUESTS = (1.0, 3.0, 8.0)
"""Requests a user, where nobody says how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The chances at the last step's share, with `users` of both arms, by requests a user; `rated` says that
    they rest on how many people answer when they are asked."""

    canary: str
    users: int
    share: float
    at: tuple[tuple[float, Power], ...]
    rated: bool


def expected(
    judged: JudgedCanary, share: float, *, users: int, requests: Sequence[float] = REQUESTS
) -> Expected | None:
    """None for a canary without a rubric, or whose candidate gets everybody."""
    if not judged.criteria or not 0 < share < 1:
        return None
    return Expected(
        canary=judged.canary,
        users=users,
        share=share,
        at=tuple(
            (
                each,
                expected_power(
                    judged.criteria,
                    Traffic(units=users, share=share, requests_per_unit=each),
                    metrics=judged.metrics,
                    planned_units=judged.planned_units,
                ),
            )
            for each in requests
        ),
        rated=any(asked_for(one.metric, judged.metrics) for one in judged.criteria),
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
                "criteria": {one.metric: round(one.power, 3) for one in power.criteria},
            }
            for requests, power in found.at
        ],
    }


def sentence(found: Expected) -> str:
    """For the terminal: the chances, and the row that costs most of them."""
    chances = ", ".join(f"{power.ship:.0%} with {requests:g}" for requests, power in found.at)
    weakest = min(found.at[0][1].criteria, key=lambda one: one.power)
    return (
        f"{found.canary}: after {found.users:,} users at a share of {found.share * 100:.3g}%, a candidate "
        f"halfway between acceptable and ideal ships with this chance, by requests a user: {chances}. "
        f"Otherwise the verdict is extend, most often because of {weakest.metric}."
        f"{_RATED if found.rated else ''}"
    )
