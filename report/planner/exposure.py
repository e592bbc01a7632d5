"""How many users a candidate meets by a day, at an expected traffic and a course of shares."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from report.plan import DAY_S
from routing.canary import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """The users by a day: the candidate's, the baseline's, and `odds`, the mean of share/(1 − share) over the
    candidate's users, by which a bound on the baseline pays for the baseline's noise."""

    candidate: float
    baseline: float
    odds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The expected traffic: new users a day, evenly, of both arms, and the shares of the candidate in order.

    `requests` is the mean of a user, at least 1: each makes 1 + Poisson(requests − 1) requests.
    """

    users_per_day: float
    requests: float
    steps: Sequence[Step]

    def until(self, days: float) -> Exposure:
        """The users of the first `days` days, while both arms had a share."""
        candidate = baseline = noise = 0.0
        for share, lasts in self._concurrent(days):
            users = self.users_per_day * lasts
            candidate += users * share
            baseline += users * (1 - share)
            noise += users * share * share / (1 - share)
        odds = noise / candidate if candidate > 0 else 0.0
        return Exposure(candidate=candidate, baseline=baseline, odds=odds)

    def _concurrent(self, days: float) -> Iterator[tuple[float, float]]:
        """The shares between 0 and 1, and the days that each lasts."""
        left = max(0.0, days)
        for step in self.steps:
            lasts = left if step.for_s is None else min(left, step.for_s / DAY_S)
            left -= lasts
            if 0 < step.share < 1:
                yield step.share, lasts
        last = self.steps[-1] if self.steps else None
        if last is not None and last.for_s is not None and 0 < last.share < 1:
            yield last.share, left


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The number of values per user: `answers` is the share of users with any; `mean` and `mean_square` are
    the moments among those."""

    answers: float
    mean: float
    mean_square: float

    @classmethod
    def of(cls, requests: float, response: float) -> "Sizes":
        """For 1 + Poisson(requests − 1) requests, each with a value at the rate `response`."""
        further = (requests - 1) * response
        answers = 1 - (1 - response) * math.exp(-further)
        mean, variance = response + further, response * (1 - response) + further
        if answers <= 0:
            return cls(answers=0.0, mean=1.0, mean_square=1.0)
        return cls(answers=answers, mean=mean / answers, mean_square=(variance + mean**2) / answers)

    @property
    def weighted(self) -> float:
        """m̃ = ΣN²/ΣN, the size of the user of a value."""
        return self.mean_square / self.mean

    def variance(self, alike: float) -> float:
        """K times the variance of ΣS/ΣN over K users, for values of variance 1. Users with many values weigh
        more, and so does their correlation."""
        return (1 - alike) / self.mean + alike * self.mean_square / self.mean**2
