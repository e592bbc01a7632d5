"""Simulated judges on simulated traffic. Nothing here is of a real model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from common.interval import Interval
from judge.judgements import JudgedExchange, Result
from tests.verdict.judged import pair, sample_of
from verdict.decision.judged_figures import preference
from verdict.rows.comparison import arm_sums
from verdict.sample.judged import JUDGE_PREFERS, judged_sample
from verdict.sample.observations import measured
from verdict.sample.sample import Sample
from verdict.statistics.types import Bools, Floats
from verdict.terms.measures import Measure
from verdict.terms.plan import DAY_S

DAYS = 14
TRAFFIC = {"question": 55, "order": 25, "refund": 15, "complaint": 5}
"""Exchanges by category; the judge is asked evenly."""

EVEN = dict.fromkeys(TRAFFIC, 25)

BETTER_IN = np.array([0.06, -0.06, -0.06, -0.18])
"""How much more often than overall the candidate is better in each category, beside its mean."""

ALIKE = 0.1
"""The correlation of two pairs of one user."""

TOLD_FIRST, TOLD_SECOND = 0.9, 0.7
"""How often the judge sees that the first answer is better, and the second: it is right 80 % of the time, and
takes the first answer 60 % of the time. Both orders are independent given which answer is better."""


def shown(better: float) -> float:
    """The judge's preference for a candidate that is better so often: .8·p + .2·(1 − p)."""
    wins, losses = TOLD_FIRST * TOLD_SECOND, (1 - TOLD_FIRST) * (1 - TOLD_SECOND)
    return better * _mean(wins, losses) + (1 - better) * _mean(losses, wins)


def _mean(wins: float, losses: float) -> float:
    return wins + (1 - wins - losses) / 2


def judged_pairs(
    rng: np.random.Generator, count: int, better: float, traffic: Mapping[str, int]
) -> list[JudgedExchange]:
    """So many pairs over DAYS, evenly over categories, of users with 1.4 pairs each on average."""
    users, categories = int(count / 1.4), list(traffic)
    here = better + BETTER_IN - np.average(BETTER_IN, weights=list(traffic.values()))
    user, category = rng.integers(users, size=count), rng.integers(len(categories), size=count)
    draw = np.where(rng.random(count) < ALIKE**0.5, rng.random(users)[user], rng.random(count))
    truth = draw < here[category]
    at = np.sort(rng.random(count)) * DAYS * DAY_S
    results = _results(rng, truth)
    return [
        replace(_PAIR, exchange_id=f"e{number}", unit=f"u{user[number]}", at=at[number], asked_at=at[number],
                category=categories[category[number]], result=results[number])
        for number in range(count)
    ]  # fmt: skip


_PAIR = replace(pair(0, 1.0), calls=())


def _results(rng: np.random.Generator, truth: Bools) -> Sequence[Result]:
    """The candidate stands second in the first turn, and first in the second."""
    in_first = rng.random(len(truth)) < np.where(truth, TOLD_SECOND, 1 - TOLD_FIRST)
    in_second = rng.random(len(truth)) < np.where(truth, TOLD_FIRST, 1 - TOLD_SECOND)
    names: tuple[Result, ...] = ("baseline", "tie", "candidate")
    return [names[number] for number in (in_first.astype(int) + in_second).tolist()]


def world(
    rng: np.random.Generator, count: int, better: float, traffic: Mapping[str, int] = TRAFFIC
) -> Sample:
    made = sample_of(judged_pairs(rng, count, better, traffic), traffic)
    return replace(made, candidate_at=np.arange(0, (DAYS + 1) * 24) * DAY_S / 24)


def plain(sample: Sample) -> Interval:
    """The plain 95 % interval, clustered by user, for a single look."""
    seen = judged_sample(sample, JUDGE_PREFERS)
    arms = arm_sums(seen, measured(seen, Measure(of=JUDGE_PREFERS, strata=True))).arms(by_category=False)
    value, reach = arms.candidate.value, 1.959964 * arms.se(0)
    return Interval(low=value - reach, estimate=value, high=value + reach)


def shown_daily(sample: Sample) -> Iterator[Interval]:
    """The interval that reports show after each day."""
    for day in range(1, DAYS + 1):
        judged = sample.judged.until(day * DAY_S)
        found = preference(replace(sample, judged=judged), planned=500)
        if found is not None:
            low, high = found.low, found.high
            assert low is not None
            assert high is not None
            yield Interval(low=low, estimate=found.estimate, high=high)


def latent(rng: np.random.Generator, better: float, hard: float) -> tuple[Floats, Floats]:
    """What one judge says of the same answers: preferences of pairs, and (2, n) marks of single answers, the
    baseline's and the candidate's.

    An answer's quality is its request's, which both arms share (standard deviation `hard`), plus its own (1).
    The judge reads it with an error by which it is right 80 % of the time about pairs of equal arms, and adds
    what makes it take the first answer 60 % of the time. Marks cut its reading at quintiles.
    """
    count, error = 400_000, np.sqrt(2) / np.tan(0.3 * np.pi)
    own = rng.normal(size=(2, count)) + np.array([[0.0], [np.sqrt(2) * _normal(better)]])
    lean = _normal(0.6) * np.sqrt(2 + error**2)
    gap = own[1] - own[0] + error * rng.normal(size=(2, count))
    wins = ((gap[0] - lean > 0).astype(float) + (gap[1] + lean > 0)) / 2
    read = own + hard * rng.normal(size=(2, count)) + error / np.sqrt(2) * rng.normal(size=(2, count))
    return wins, np.searchsorted(np.quantile(read[0], [0.2, 0.4, 0.6, 0.8]), read) + 1.0


def _normal(share: float) -> float:
    return float(stats.norm.ppf(share))
