"""Anytime-valid evidence against the candidate, which holds at every look, and sliding windows, which are no
evidence. Pure arithmetic.

Each observation updates K log-likelihood ratios (or log betting gains), one per alternative. Two statistics
follow, both means over the alternatives, stored as natural logarithms:

    mixture  mean of S_k, the products of all ratios: P(ever ≥ 1/α) ≤ α for a healthy arm (Ville 1939)
    cusum    mean of M_k = max(1, M_k)·ratio: forgets a clean past; the mean time to a false alarm at c is
             at least c observations (e-detector: Shin, Ramdas, Rinaldo, arXiv 2203.03532)

The rules decide by them, with their windows, minimums and actions.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import nlargest

from common.interval import Z

ROLLBACK_MIXTURE = math.log(1e3)
ROLLBACK_CUSUM = math.log(1e5)
PAGE_MIXTURE = math.log(20.0)
PAGE_CUSUM = math.log(1e3)
WITHOUT_HEAVIEST = math.log(10.0)
"""A statistic must reach a tenth of the rollback threshold without its heaviest unit."""
MINIMUM_UNITS, TWO_UNITS = 3, 2
UNITS_KEPT = 5_000
"""Adverse units whose weight is stored. At 1.5 times as many, the lightest are dropped."""

Steps = tuple[float, float, float]
"""The natural logarithms of one observation's ratios, one per alternative."""


@lru_cache(maxsize=4096)
def absolute_steps(limit: float, highest: float = 0.0) -> tuple[Steps, Steps]:
    """(steps of a failure, steps of a success) against the null "fails with at most `limit`".

    `limit` is a share in (0, .5). The alternatives are p₁ = min(m·limit, (1 + limit)/2) for m = 2, 4, 8; the
    last is at least `highest`, for a candidate that hardly does anything else.
    """
    guesses = [min(m * limit, (1.0 + limit) / 2.0) for m in (2.0, 4.0, 8.0)]
    guesses[2] = max(guesses[2], highest)
    failure = [math.log(p / limit) for p in guesses]
    success = [math.log((1.0 - p) / (1.0 - limit)) for p in guesses]
    return (failure[0], failure[1], failure[2]), (success[0], success[1], success[2])


@lru_cache(maxsize=1024)
def relative_steps(share: float, factor: float = 1.5) -> tuple[Steps, Steps]:
    """(steps of a failing candidate unit, of a failing baseline unit) against "at most `factor` × as often".

    `share` w in (0, 1) is the candidate's share of units. If the candidate's units fail r times as often, a
    failing unit is the candidate's with probability θ(r) = rw/(rw + 1 − w). The null is θ(1.5), the
    alternatives are θ(3), θ(10), θ(30); another factor scales all four.
    """

    def odds(times: float) -> float:
        return times * share / (times * share + 1.0 - share)

    null = odds(factor)
    guesses = [odds(factor * more) for more in (2.0, 20.0 / 3.0, 20.0)]
    candidate = [math.log(guess / null) for guess in guesses]
    baseline = [math.log((1.0 - guess) / (1.0 - null)) for guess in guesses]
    return (candidate[0], candidate[1], candidate[2]), (baseline[0], baseline[1], baseline[2])


def unit_steps(
    known: float, weight: float, factor: float
) -> tuple[tuple[Steps, Steps], tuple[Steps, Steps]] | None:
    """((steps of a candidate unit with the event, without), the same of a baseline unit), against "units of
    the candidate have the event with at most `factor` × the probability of the baseline's".

    For a block in which a part `weight` in (0, 1) of the units is the candidate's. The product of all steps
    of a block is an e-variable for any probabilities within the null, whatever they are, and whatever they
    were in other blocks: each alternative is divided by the point of the null that is nearest to it, and the
    null is convex (Turner, Ly, Grünwald, arXiv 2106.02693; a block's product is bounded by its mean). `known`
    in (0, 1) is a guess at the baseline's probability, from earlier blocks; a bad one costs time alone. The
    alternatives for the candidate's probability are a half, a quarter and a 64th of the way from
    `factor` × `known` to 1 on a logarithmic scale. None where the limit is no limit.
    """
    allowed = factor * known
    if allowed >= 1.0:
        return None
    guesses = [allowed**power for power in (1 / 2, 1 / 4, 1 / 64)]
    nearest = [_nearest(guess, known, weight, factor) for guess in guesses]
    pairs = list(zip(guesses, nearest, strict=True))
    return (
        (
            _three([math.log(guess / (factor * null)) for guess, null in pairs]),
            _three([math.log((1.0 - guess) / (1.0 - factor * null)) for guess, null in pairs]),
        ),
        (
            _three([math.log(known / null) for null in nearest]),
            _three([math.log((1.0 - known) / (1.0 - null)) for null in nearest]),
        ),
    )


OWNER_ODDS = (3.0, 8.0, 30.0)


@lru_cache(maxsize=4096)
def owner_steps(share: float, before: float, beyond: float) -> tuple[Steps, Steps]:
    """(steps of a candidate's session, of a baseline's), against "only the share says whose it is".

    For a session whose size the part `before` of both arms' sessions exceeds or has, and the part `beyond`
    exceeds: 0 ≤ `beyond` < `before` ≤ 1. In a healthy canary it is the candidate's with the probability
    `share` in (0, 1), whatever its size. In the alternatives the candidate's odds of going beyond any size
    are three, eight and thirty times the baseline's. The ratios have the mean 1, however wrong the parts are.
    """
    steps = [_owner_step(share, before, beyond, odds) for odds in OWNER_ODDS]
    return _three([mine for mine, _ in steps]), _three([theirs for _, theirs in steps])


def _owner_step(share: float, before: float, beyond: float, odds: float) -> tuple[float, float]:
    (mine, theirs), (mine_beyond, theirs_beyond) = (_owners(share, part, odds) for part in (before, beyond))
    part = before - beyond
    return math.log((mine - mine_beyond) / part), math.log((theirs - theirs_beyond) / part)


def _owners(share: float, tail: float, odds: float) -> tuple[float, float]:
    """The parts of the candidate's and of the baseline's sessions that go beyond a size, as `tail` of both
    do."""
    more = odds - 1.0
    half = share * odds + 1.0 - share - tail * more
    theirs = (math.sqrt(half * half + 4.0 * (1.0 - share) * more * tail) - half) / (
        2.0 * (1.0 - share) * more
    )
    return odds * theirs / (1.0 + more * theirs), theirs


def _nearest(guess: float, known: float, weight: float, factor: float) -> float:
    """The baseline's probability p at which (`factor`·p, p) has the least divergence from (guess, known)."""
    events = weight * guess + (1.0 - weight) * known
    middle = factor * (weight + (1.0 - weight) * known) + weight * guess + 1.0 - weight
    return 2.0 * events / (middle + math.sqrt(middle**2 - 4.0 * factor * events))


def _three(values: Sequence[float]) -> Steps:
    return values[0], values[1], values[2]


def betting_steps(badness: float, mean: float) -> Steps:
    """Steps of one value against the null "the mean is at most `mean`", by bets of .1, .3, .6 of the stake.

    `badness` ≥ 0 and `mean` > 0 in the same unit. The tail needs no bound (Waudby-Smith and Ramdas, arXiv
    2010.09686).
    """
    excess = badness / mean - 1.0
    return math.log1p(0.1 * excess), math.log1p(0.3 * excess), math.log1p(0.6 * excess)


def log_mean(logs: Sequence[float]) -> float:
    """ln of the mean of e^x over `logs`, without overflow."""
    peak = max(logs)
    return peak + math.log(sum(math.exp(value - peak) for value in logs) / len(logs))


Counted = tuple[str, bool, Steps]
"""A unit, whether its observation is against the candidate, and the observation's steps."""


def _zeros(tests: int = 1) -> list[float]:
    return [0.0] * (3 * tests)


def _spans(tests: int = 1) -> list[dict[str, float]]:
    return [{} for _ in range(3 * tests)]


@dataclass(slots=True)
class Evidence:
    """The two statistics of one rule, and each adverse unit's contribution. All values are logarithms.

    A rule may test the candidate in several ways, each with its three alternatives. Their means are over the
    alternatives of all tests, so the tests share one error budget. A unit is adverse after its first
    observation against the candidate. Its earlier observations are not in its contribution, so it looks
    heavier than it is, which is the cautious side. `since` holds, for each M_k, the units of the stretch
    since M_k was last 1. `parts` rules share the error budget of one: each needs `parts` times the evidence,
    so that all together convict a healthy candidate as rarely as one rule.
    """

    products: list[float] = field(default_factory=_zeros)
    running: list[float] = field(default_factory=_zeros)
    units: dict[str, list[float]] = field(default_factory=dict)
    since: list[dict[str, float]] = field(default_factory=_spans)
    observations: int = 0
    parts: int = 1

    @classmethod
    def of_tests(cls, tests: int) -> "Evidence":
        """Evidence from so many tests, numbered from 0."""
        return cls(products=_zeros(tests), running=_zeros(tests), since=_spans(tests))

    def add(
        self,
        unit: str,
        steps: Steps,
        *,
        test: int = 0,
        mixture: bool = True,
        cusum: bool = True,
        adverse: bool | None = None,
    ) -> None:
        """Add one observation of `unit` to a test. `adverse`: it is one against the candidate; by default as
        its first step says."""
        group = ((unit, steps[0] > 0.0 if adverse is None else adverse, steps),)
        self.observations += 1
        if mixture:
            self._multiply(group, steps, 3 * test)
        if cusum:
            self._run_on(group, steps, 3 * test)

    def add_block(self, group: Sequence[Counted], steps: Steps, *, test: int) -> None:
        """Add a block of observations, which count only together, to a test. `steps` are those of the whole
        block, `group` has the units that may be adverse."""
        self.observations += 1
        self._multiply(group, steps, 3 * test)
        self._run_on(group, steps, 3 * test)

    def _multiply(self, group: Sequence[Counted], steps: Steps, first: int) -> None:
        for k in (0, 1, 2):
            self.products[first + k] += steps[k]
        for unit, adverse, own in group:
            weights = self.units.get(unit)
            if weights is None:
                if not adverse:
                    continue
                weights = self.units[unit] = [0.0] * len(self.products)
            for k in (0, 1, 2):
                weights[first + k] += own[k]
        if len(self.units) > UNITS_KEPT * 1.5:
            self.units = dict(nlargest(UNITS_KEPT, self.units.items(), key=lambda item: max(item[1])))

    def _run_on(self, group: Sequence[Counted], steps: Steps, first: int) -> None:
        running = self.running
        for k in (0, 1, 2):
            place = first + k
            span = self.since[place]
            if running[place] <= 0.0:
                running[place] = steps[k]
                if span:
                    span.clear()
            else:
                running[place] += steps[k]
            for unit, adverse, own in group:
                if adverse or unit in span:
                    span[unit] = span.get(unit, 0.0) + own[k]
            if len(span) > UNITS_KEPT * 1.5:
                self.since[place] = dict(nlargest(UNITS_KEPT, span.items(), key=lambda item: item[1]))

    @property
    def mixture(self) -> float:
        """ln of the mean of the products; 0 before the first observation."""
        return log_mean(self.products)

    @property
    def cusum(self) -> float:
        """ln of the mean of the running products."""
        return log_mean(self.running)

    @property
    def adverse_units(self) -> int:
        """Distinct adverse units of the whole run; a lower bound once units have been dropped."""
        return len(self.units)

    @property
    def adverse_units_since(self) -> int:
        """Distinct adverse units of the stretch with the largest running product."""
        return len(self.since[self.running.index(max(self.running))])

    def mixture_without_heaviest(self) -> float:
        """ln of the mixture without the one unit whose removal lowers it most."""
        return min(
            (log_mean(_minus(self.products, weights)) for weights in self.units.values()),
            default=self.mixture,
        )

    def cusum_without_heaviest(self) -> float:
        """A lower bound of the same for the CUSUM: removal divides M_k by at most the unit's contribution."""
        units = set().union(*self.since)
        return min(
            (log_mean(_minus(self.running, [span.get(u, 0.0) for span in self.since])) for u in units),
            default=self.cusum,
        )

    def numbers(self) -> dict[str, float]:
        """The figures to show a person. Keys with `ln_` hold natural logarithms."""
        shared = {"parts": float(self.parts)} if self.parts > 1 else {}
        return shared | {
            "observations": float(self.observations),
            "ln_mixture": self.mixture,
            "ln_cusum": self.cusum,
            "adverse_units": float(self.adverse_units),
            "adverse_units_since": float(self.adverse_units_since),
        }

    @property
    def more(self) -> float:
        """ln of `parts`, by which every threshold is higher."""
        return math.log(self.parts)

    def pages(self, minimum_units: int) -> bool:
        """True when the evidence is enough to page."""
        return (self.mixture >= PAGE_MIXTURE + self.more and self.adverse_units >= minimum_units) or (
            self.cusum >= PAGE_CUSUM + self.more and self.adverse_units_since >= minimum_units
        )

    def convicts(self, minimum_units: int) -> bool:
        """True when either statistic is enough for a rollback."""
        return self.convicts_run(minimum_units) or self.convicts_since(minimum_units)

    def convicts_by_two(self) -> bool:
        """True when the only two adverse units are enough for a rollback: each of them alone would be."""
        return (
            self.adverse_units == TWO_UNITS
            and self.mixture_without_heaviest() >= ROLLBACK_MIXTURE + self.more
        )

    def convicts_run(self, minimum_units: int) -> bool:
        """True when the whole run's evidence is enough for a rollback and does not rest on one unit."""
        return (
            self.mixture >= ROLLBACK_MIXTURE + self.more
            and self.adverse_units >= max(MINIMUM_UNITS, minimum_units)
            and self.mixture_without_heaviest() >= ROLLBACK_MIXTURE + self.more - WITHOUT_HEAVIEST
        )

    def convicts_since(self, minimum_units: int) -> bool:
        """True when the CUSUM's evidence is enough for a rollback and does not rest on one unit."""
        return (
            self.cusum >= ROLLBACK_CUSUM + self.more
            and self.adverse_units_since >= max(MINIMUM_UNITS, minimum_units)
            and self.cusum_without_heaviest() >= ROLLBACK_CUSUM + self.more - WITHOUT_HEAVIEST
        )


def _minus(logs: Sequence[float], weights: Iterable[float]) -> list[float]:
    return [value - weight for value, weight in zip(logs, weights, strict=True)]


# Sliding windows: counts, means and quantiles of the last W seconds in bounded memory.


SLICES = 30
_GAMMA = 1.02
_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST = 1e-6


@dataclass(slots=True)
class Slice:
    """One slice's sums. `bins` counts values by their logarithm."""

    count: int = 0
    over: int = 0
    total: float = 0.0
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, values: Sequence[float], *, over: bool, binned: bool) -> None:
        """Add values, as `Window.add_all` does."""
        self.count += len(values)
        self.total += sum(values)
        if over:
            self.over += len(values)
        if binned:
            bins = self.bins
            for value in values:
                place = math.ceil(math.log(value if value > _SMALLEST else _SMALLEST) / _LOG_GAMMA)
                bins[place] = bins.get(place, 0) + 1

    def merge(self, part: "Slice") -> None:
        """Add another slice's sums."""
        self.count += part.count
        self.over += part.over
        self.total += part.total
        for place, count in part.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count

    def quantile(self, q: float) -> float | None:
        """`Window.quantile` for this slice alone."""
        return _quantile(self.bins, q)

    def bounds(self, q: float) -> tuple[float | None, float | None]:
        """The quantile's 95 % interval by order statistics, as if values were independent. An end outside the
        observed values is None."""
        binned = sum(self.bins.values())
        reach = Z * math.sqrt(binned * q * (1.0 - q))
        low, high = binned * q - reach, binned * q + reach + 1.0
        return (
            _quantile(self.bins, low / binned) if low >= 1.0 else None,
            _quantile(self.bins, high / binned) if binned and high <= binned else None,
        )


@dataclass(slots=True)
class Window:
    """Values of the last `span_s` seconds (None: since the start). Only `binned` windows have quantiles.

    `ever` are all values that were added, `ever_over` those over their bound."""

    span_s: float | None
    binned: bool = False
    slices: dict[int, Slice] = field(default_factory=dict)
    ever: int = 0
    ever_over: int = 0

    def add(self, at: float, value: float, *, over: bool = False) -> None:
        """Add a value observed at `at`, in any order. `over` marks it as over the caller's bound."""
        self.add_all([(at, value)], over=over)

    def add_all(self, observed: Iterable[tuple[float, float]], *, over: bool = False) -> None:
        """Add values that were observed, in any order: (at, value). `over` marks all of them."""
        span_s = self.span_s
        by_slice: dict[int, list[float]] = {}
        for at, value in observed:
            index = 0 if span_s is None else int(at * SLICES / span_s)
            values = by_slice.get(index)
            if values is None:
                values = by_slice[index] = []
            values.append(value)
        for index, values in by_slice.items():
            part = self.slices.get(index)
            if part is None:
                part = self.slices[index] = Slice()
                self._forget(index)
            part.add(values, over=over, binned=self.binned)
            self.ever += len(values)
            self.ever_over += len(values) if over else 0

    def _forget(self, newest: int) -> None:
        for old in [index for index in self.slices if index < newest - 2 * SLICES]:
            del self.slices[old]

    def _live(self, now: float) -> Iterator[Slice]:
        if self.span_s is None:
            return iter(list(self.slices.values()))
        oldest = int((now - self.span_s) * SLICES / self.span_s)
        return (part for index, part in self.slices.items() if index >= oldest)

    def count(self, now: float) -> int:
        """The number of values."""
        return sum(part.count for part in self._live(now))

    def over(self, now: float) -> int:
        """The number of values over their bound."""
        return sum(part.over for part in self._live(now))

    def share_over(self, now: float) -> float | None:
        """The share of values over their bound, in [0, 1]; None without values."""
        count = self.count(now)
        return self.over(now) / count if count else None

    def mean(self, now: float) -> float | None:
        """The mean, in the values' unit; None without values."""
        count = self.count(now)
        return sum(part.total for part in self._live(now)) / count if count else None

    def quantile(self, q: float, now: float) -> float | None:
        """The inverted-CDF quantile within 1 %, in the values' unit; None without values or `binned`."""
        return self.whole(now).quantile(q)

    def whole(self, now: float) -> Slice:
        """The sum of the live slices."""
        merged = Slice()
        for part in self._live(now):
            merged.merge(part)
        return merged


def _quantile(bins: Mapping[int, int], q: float) -> float | None:
    rank = q * sum(bins.values())
    for place in sorted(bins):
        rank -= bins[place]
        if rank <= 1e-9:
            return 2.0 * math.exp(place * _LOG_GAMMA) / (_GAMMA + 1.0)
    return None
