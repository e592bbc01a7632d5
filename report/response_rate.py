"""Response rates: how many units give a value in each arm, and bounds when the rates differ.

The candidate itself may cause a difference, so the difference never blocks. The metric is then judged between
the worst and the best case of the missing values (Lee, Review of Economic Studies 2009). Costs, times and
tokens lack the exchanges that callers abandoned, and are judged in the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from report.metrics import Observations
from report.missing_exchanges import EXPECTED, MissingShare, tables
from report.sample import Sample, Values
from report.statistics.exact import Table, fisher
from report.statistics.phases import Arms, UnitSums, arms
from report.statistics.types import Bools, Ints

DIFFERENT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRate:
    """(units that could give a value, units that did) per arm, each counted in every phase of a ramp in which
    both arms had traffic.

    `rates` are the candidate's and the baseline's share that did, compared within the phases: those who came
    later had less time to answer, and more of them are the candidate's. `p_value` is that of equal rates,
    None: undefined.
    """

    candidate: tuple[int, int]
    baseline: tuple[int, int]
    rates: tuple[float, float]
    p_value: float | None
    phases: int = 1

    @property
    def different(self) -> bool:
        return self.p_value is not None and self.p_value < DIFFERENT


def response(sample: Sample, observed: Observations) -> ResponseRate:
    """Count exposed and responding units by phase and arm."""
    sums = _responses(sample, observed)
    counts = [
        (int(np.sum(mine)), int(np.sum(sums.total[mine]))) for mine in (sums.candidate, ~sums.candidate)
    ]
    (exposed_t, answered_t), (exposed_c, answered_c) = counts
    found = ResponseRate(
        candidate=(exposed_t, answered_t), baseline=(exposed_c, answered_c), rates=(0.0, 0.0), p_value=None
    )
    if not (exposed_t and exposed_c):
        return found
    both = arms(sums)
    rates = both.candidate.value, both.baseline.value
    found = replace(found, rates=rates, phases=len(np.unique(sums.phase)))
    if not 0 < answered_t + answered_c < exposed_t + exposed_c:
        return found
    return replace(found, p_value=_equal_rates(sums, both))


def _responses(sample: Sample, observed: Observations) -> UnitSums:
    """One row per exposed unit and phase, with the total 1 if it gave a value there, in the phases in which
    both arms had traffic."""
    phases = int(sample.phase.max(initial=0)) + 1
    place = (sample.unit * phases + sample.phase) * 2 + sample.candidate
    seen = np.unique(place[observed.exposed[sample.unit]])
    answered = np.isin(seen, place[observed.row])
    unit, phase, candidate = seen // 2 // phases, seen // 2 % phases, seen % 2 == 1
    theirs, ours = (np.bincount(phase[candidate == arm], minlength=phases) > 0 for arm in (False, True))
    rows = (theirs & ours)[phase]
    return UnitSums(
        unit=unit[rows],
        phase=phase[rows],
        candidate=candidate[rows],
        total=answered[rows].astype(np.float64),
        count=np.ones(int(rows.sum())),
    )


def _equal_rates(sums: UnitSums, both: Arms) -> float:
    """The p-value of equal rates within the phases: Pearson's χ² of one, the units' influences over several,
    which a unit that stays through all of them has in each; Fisher's exact test where few are expected to
    answer, or not to."""
    answered = sums.total > 0
    found = tables(sums.phase, sums.candidate, answered)
    if _least_expected(found) < EXPECTED:
        rare = answered if 2 * np.sum(answered) <= len(answered) else ~answered
        return fisher(tables(sums.phase, sums.candidate, rare))
    if not sums.single_phase:
        return float(2 * special.ndtr(-abs(both.value(1)) / both.se(1))) if both.se(1) > 0 else 1.0
    (table,) = found
    pooled = (table.events + table.others) / (table.of + table.of_others)
    variance = pooled * (1 - pooled) * (1 / table.of + 1 / table.of_others)
    return float(special.chdtrc(1, both.value(1) ** 2 / variance))


def _least_expected(found: Sequence[Table]) -> float:
    """The fewest units of an arm that are expected to answer, or not to."""
    cells = np.zeros((2, 2))
    for each in found:
        rate = (each.events + each.others) / (each.of + each.of_others)
        cells += np.outer((each.of, each.of_others), (rate, 1 - rate))
    return float(cells.min())


def trimmings(sample: Sample, observed: Observations) -> tuple[Observations, Observations] | None:
    """The observations without the lowest, and without the highest values of the arm that has more of them.

    Feedback: it drops the share (r_more − r_less)/r_more of that arm's responding units in each phase,
    ordered by their means there. Costs, times and tokens: the same share of exchanges, r being the share that
    callers did not abandon. None if the rates do not differ.
    """
    if not observed.feedback:
        lost = observed.abandoned
        return _without_exchanges(sample, observed, lost) if lost is not None and lost.different else None
    found = response(sample, observed)
    if not found.different:
        return None
    ours, theirs = found.rates
    excess, phase = _excess(ours, theirs), sample.phase[observed.row]
    side = np.flatnonzero(sample.candidate[observed.row] == (ours > theirs))
    key, place = np.unique(
        phase[side] * len(sample.units) + sample.unit[observed.row[side]], return_inverse=True
    )
    means = np.bincount(place, weights=observed.total[side]) / np.bincount(
        place, weights=observed.count[side]
    )
    of = key // len(sample.units)

    def without(*, lowest: bool) -> Observations:
        dropped = np.zeros(len(key), dtype=np.bool_)
        for each in np.unique(of).tolist():
            mine = np.flatnonzero(of == each)
            order = mine[np.argsort(means[mine] if lowest else -means[mine], kind="stable")]
            dropped[order[: min(math.ceil(excess * len(order)), len(order) - 1)]] = True
        kept = np.ones(len(observed.row), dtype=np.bool_)
        kept[side[dropped[place]]] = False
        return observed.take(np.flatnonzero(kept))

    return without(lowest=True), without(lowest=False)


def _excess(ours: float, theirs: float) -> float:
    """The part of its values that the arm with more of them has in excess."""
    return 1 - min(ours, theirs) / max(ours, theirs)


def _without_exchanges(
    sample: Sample, observed: Observations, lost: MissingShare
) -> tuple[Observations, Observations] | None:
    ours, theirs = 1 - lost.candidate, 1 - lost.baseline
    side = sample.candidate[observed.row] == (ours > theirs)
    if not side.any():
        return None
    excess, values, phase = _excess(ours, theirs), observed.values, sample.phase[observed.row]

    def without(*, lowest: bool) -> Observations:
        if values is None:
            return _without_rows(observed, side, phase, excess, lowest=lowest)
        return _without_values(observed, values, side, phase, excess, lowest=lowest)

    return without(lowest=True), without(lowest=False)


def _without_rows(
    observed: Observations, side: Bools, phase: Ints, excess: float, *, lowest: bool
) -> Observations:
    """Rows hold one exchange (from a log) or a user's (from the store), and are ordered by their means."""
    kept = np.ones(len(side), dtype=np.bool_)
    for each in np.unique(phase[side]).tolist():
        rows = np.flatnonzero(side & (phase == each))
        means = observed.total[rows] / observed.count[rows]
        order = rows[np.argsort(means if lowest else -means, kind="stable")]
        upto = np.cumsum(observed.count[order])
        kept[order[: min(int(np.searchsorted(upto, excess * upto[-1])) + 1, len(order) - 1)]] = False
    return observed.take(np.flatnonzero(kept))


def _without_values(
    observed: Observations, values: Values, side: Bools, phase: Ints, excess: float, *, lowest: bool
) -> Observations:
    size, code = values.size.astype(np.int64), values.codes()
    whose, of = np.repeat(side, size), np.repeat(phase, size)
    kept = np.ones(len(code), dtype=np.bool_)
    for each in np.unique(phase[side]).tolist():
        places = np.flatnonzero(whose & (of == each))
        order = places[np.argsort(code[places], kind="stable")]
        drop = min(math.ceil(excess * len(order)), len(order) - 1)
        kept[order[:drop] if lowest else order[len(order) - drop :]] = False
    left = np.bincount(np.repeat(np.arange(len(size)), size)[kept], minlength=len(size))
    some = left > 0
    fewer = Values.grouped(row=values.row[some], size=left[some], code=code[kept], scale=values.scale)
    return replace(
        observed,
        row=observed.row[some],
        total=observed.total[some],
        count=left[some].astype(np.float64),
        values=fewer,
    )
