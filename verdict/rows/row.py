"""One row of the rubric, decided: its state, the distance to both bounds, and the evidence still missing.

The state follows from the two margins alone, whether a plan's looks or the any-time band tells them:

acceptable         ideal         state
low ≥ 0            low ≥ 0       IDEAL
low ≥ 0            low < 0       PASS
high < 0                         FAIL
otherwise                        INCONCLUSIVE
too few units                    NODATA

A row stays INCONCLUSIVE while one unit decides it, or while it is held: its days decide it, or who is silent,
its costs are not known, too few of people's labels count, only one value was ever sent, what its cost is
divided by happened too rarely, or nothing can be computed of it.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from common.interval import Interval
from judge.figures import NEEDED_LABELS
from records.facts.metric import JUDGED, Metric
from routing.canary import ArmName
from verdict.details import UnknownCosts
from verdict.rows.comparison import ALPHA, GATE, ArmComparison, ArmSums, BracketedComparison
from verdict.rows.looks import Look, RowPlan, RowStanding, SeenRow, standing, unknown
from verdict.rows.reading import (
    MetricReading,
    OneUnit,
    enough_events,
    enough_units,
    known,
    only_by,
    outcome,
    response,
)
from verdict.rows.reasons import (
    BusyUser,
    Capped,
    CostsUnknown,
    DaysDecide,
    LabelsWanted,
    LateFeedback,
    NotByUsers,
    OneSided,
    RowNotComputed,
    SessionsDiffer,
    SessionsEndEarly,
    SilenceDecides,
    TooFewEvents,
    TrafficDiffers,
    UnequalResponse,
    UnevenlyAbandoned,
    UnitsNotUsers,
)
from verdict.sample.observations import DIFFERENT, MissingShare, Observations, abandoned, unpriced
from verdict.sample.sample import TRAFFIC, Sample
from verdict.statistics import sequence
from verdict.statistics.ratio import Arms, UnitSums, arms, common_phases, unit_sums
from verdict.statistics.types import Floats, NotComputed
from verdict.terms.measures import END_EARLY, is_cost, per_session, source
from verdict.terms.rubric import Bound, Criterion

State = Literal["IDEAL", "PASS", "FAIL", "INCONCLUSIVE", "NODATA"]
_WORST_FIRST: tuple[State, ...] = ("FAIL", "INCONCLUSIVE", "NODATA", "PASS", "IDEAL")

Held: TypeAlias = (
    CostsUnknown | DaysDecide | LabelsWanted | OneSided | RowNotComputed | SilenceDecides | TooFewEvents
)
"""Why a row stays open whatever its values say; more users alone will not change it."""

HEAVY = 0.2
"""No PASS by the band while one unit has more of the variance than this: its next visit could reverse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. Margins are in the metric's unit; 0 or more keeps the bound.

    `band`: the margins to the acceptable and the ideal bound by the any-time band, with a plan too.
    `standing`: with a plan, what its `looks` say. `heavy`: the row would be decided if one unit had less
    weight; `one_unit`: that one, if without it the row would be something else.
    """

    criterion: Criterion
    reading: MetricReading
    state: State
    band: tuple[Interval, Interval] | None = None
    looks: tuple[Look, ...] = ()
    standing: RowStanding | None = None
    heavy: bool = False
    one_unit: OneUnit | None = None
    held: Held | None = None

    @property
    def metric(self) -> str:
        return self.criterion.metric

    @property
    def acceptable(self) -> Interval | None:
        """The margin to the acceptable bound that decides; None without data."""
        if self.band is None or self.standing is None:
            return None if self.band is None else self.band[0]
        return self.standing.acceptable

    @property
    def ideal(self) -> Interval | None:
        """The margin to the ideal bound that decides; None without data."""
        if self.band is None or self.standing is None:
            return None if self.band is None else self.band[1]
        return self.standing.ideal

    @property
    def may_be_ideal(self) -> bool:
        return self.state == "PASS" and self.ideal is not None and self.ideal.high >= 0

    @property
    def open(self) -> bool:
        return self.state in ("INCONCLUSIVE", "NODATA")

    def without_units(self) -> "Row":
        """A copy without the units' influences, which are not needed once the row is decided."""
        return replace(self, reading=replace(self.reading, comparison=None, without=(), by_users=None))


def decide(
    criterion: Criterion,
    reading: MetricReading,
    *,
    held: Held | None = None,
    plan: RowPlan | None = None,
    looks: Sequence[Look] = (),
) -> Row:
    """The row by the looks of its `plan`, as far as the values of now bear them out; without one by the
    any-time band."""
    row = Row(criterion=criterion, reading=reading, state="NODATA", held=held, looks=tuple(looks))
    uncomputed, units = isinstance(held, RowNotComputed), enough_units(reading.carrying, criterion.acceptable)
    if uncomputed or not reading.enough(criterion.acceptable) or reading.comparison is None:
        state: State = "INCONCLUSIVE" if uncomputed or units else "NODATA"
        return replace(row, state=state, standing=None if plan is None else unknown(plan, looks))
    band = margin(reading, criterion.acceptable), margin(reading, criterion.ideal)
    found = None if plan is None else standing(plan, looks, (band[0].estimate, band[1].estimate))
    state = _state(*band) if found is None else _state(found.acceptable, found.ideal)
    if found is None:
        one_unit = _one_unit(reading, criterion.acceptable, band[0])
        too_heavy = state in ("IDEAL", "PASS") and _heaviest(reading, criterion.acceptable) > HEAVY
        heavy = too_heavy or one_unit is not None
    else:
        last = _last(looks) if state == "INCONCLUSIVE" else None
        one_unit = None if last is None else last.one_unit
        heavy = one_unit is not None
        if state != "FAIL":
            held = held or _by_look(criterion, looks, passes=state != "INCONCLUSIVE")
    return replace(
        row,
        state="INCONCLUSIVE" if heavy or held is not None else state,
        band=band,
        standing=found,
        heavy=heavy,
        one_unit=one_unit,
        held=held,
    )


def worst(states: Iterable[State]) -> State:
    """The worst of several rows' states; NODATA of none."""
    known = set(states)
    for state in _WORST_FIRST:
        if state in known:
            return state
    return "NODATA"


def _state(acceptable: Interval, ideal: Interval) -> State:
    match outcome(acceptable.low, acceptable.high):
        case "pass":
            return "IDEAL" if ideal.low >= 0 else "PASS"
        case "fail":
            return "FAIL"
        case "open":
            return "INCONCLUSIVE"


def _one_unit(reading: MetricReading, bound: Bound, acceptable: Interval) -> OneUnit | None:
    """The heavy unit, if the row would be something else without it."""
    if reading.heavy is None or not reading.without:
        return None
    rest = [_oriented(each, bound) for each in reading.without]
    low, high = min(each.low for each in rest), max(each.high for each in rest)
    return only_by(reading.heavy, outcome(acceptable.low, acceptable.high), outcome(low, high))


def _by_look(
    criterion: Criterion, looks: Sequence[Look], *, passes: bool
) -> DaysDecide | SilenceDecides | RowNotComputed | None:
    """That the latest look could not be computed; what it found of its days, or of who gave no opinion, in a
    row that `passes`."""
    last, metric, bound = _last(looks), criterion.metric, criterion.acceptable.text
    if looks and looks[-1].uncomputed:
        return RowNotComputed(metric=metric, why=looks[-1].uncomputed, day=looks[-1].day)
    if not passes:
        return None
    if last is not None and last.days is not None:
        return DaysDecide(metric=metric, acceptable=bound, found=last.days)
    if last is not None and last.silent is not None:
        found = last.silent
        return SilenceDecides(metric=metric, acceptable=bound, rates=found.rates, phases=found.phases)
    return None


def _last(looks: Sequence[Look]) -> SeenRow | None:
    """What the latest look saw that had enough units."""
    return next((look.seen for look in reversed(looks) if look.seen is not None), None)


def margin(reading: MetricReading, bound: Bound) -> Interval:
    """The distance to the bound by the any-time band, negative on the wrong side."""
    if reading.comparison is None:
        raise ValueError("a margin needs data of both arms")
    return _oriented(reading.comparison, bound)


def _oriented(comparison: ArmComparison, bound: Bound) -> Interval:
    contrast = known(comparison.contrast(*bound.terms))
    return contrast if bound.higher_is_better else contrast.scaled(-1)


def _heaviest(reading: MetricReading, bound: Bound) -> float:
    return reading.comparison.heaviest(bound.terms[0]) if reading.comparison else 0.0


def half_width(row: Row) -> float | None:
    """Half the width of the acceptable margin by the band; None if unbounded."""
    if row.band is None:
        return None
    half = (row.band[0].high - row.band[0].low) / 2
    return half if math.isfinite(half) else None


def detectable(row: Row) -> float | None:
    """MDE = (c + z_β)·SE: the distance to the bound that is detected with 80 % power at this traffic."""
    half = half_width(row)
    if half is None:
        return None
    c = sequence.multiplier(row.reading.tau, ALPHA)
    return (c + sequence.POWER_Z) * half / c


def further_units(row: Row, *, gate: int, planned: float) -> int | None:
    """Candidate units still needed until the band decides an open row with 80 % power; 0 for a decided one.

    None if the estimate is too close to the bound, or the interval too wide, for a number.
    """
    if not row.open:
        return 0
    if row.held is not None:
        return None
    units = row.reading.candidate_units
    if row.band is None:
        return max(0, gate - units) or None
    half, delta = half_width(row), abs(row.band[0].estimate)
    if half is None or delta <= 1e-9 * half or row.heavy:
        return None
    sigma = half / sequence.multiplier(row.reading.tau, ALPHA) * math.sqrt(units)
    rho2 = sequence.tuning(alpha=ALPHA, planned=planned)
    total = sequence.units_needed(sigma=sigma, delta=delta, share=None, alpha=ALPHA, rho2=rho2)
    return max(1, math.ceil(total - units))


# What holds a row of the rubric open whatever its values say: costs that are not known, and labels that do


MOST_UNPRICED = 0.01
"""The largest share of answered exchanges without a known cost with which a cost row is still decided."""

ONE_SIDED_FROM = 20
"""So many equal values are no chance."""


def condition(
    criterion: Criterion,
    sample: Sample,
    observed: Observations,
    metrics: Mapping[str, Metric],
    *,
    enough: bool,
    events: tuple[int, int] | None = None,
) -> Held | None:
    """What holds the row open; None if nothing does. `enough`: its users are there. `events`: those of the
    candidate and of the baseline by which a cost is divided."""
    metric = criterion.metric
    if criterion.assisted or metric in JUDGED:
        # There are no labels of single answers, so a row on marks is always open.
        labels = observed.labels or 0
        return None if labels >= NEEDED_LABELS else LabelsWanted(metric=metric, labels=labels, enough=enough)
    if events is not None and not enough_events(events):
        return few_events(metrics[metric], events)
    if metric in metrics and (one_sided := _one_sided(metrics[metric], observed)) is not None:
        return one_sided
    found = unpriced(sample) if is_cost(metric, metrics) else None
    if found is None or not _too_many(found, relative=criterion.acceptable.relative):
        return None
    return CostsUnknown(metric=metric, share=found)


def few_events(
    metric: Metric, events: tuple[int, int], *, by: str | None = None, value: str | None = None
) -> TooFewEvents:
    """That the candidate or the baseline has so few of these events, in all or in a critical part."""
    ours, theirs = events
    arm: ArmName = "candidate" if ours <= theirs else "baseline"
    fewer = min(ours, theirs)
    return TooFewEvents(metric=metric.name, event=metric.cost_per, arm=arm, events=fewer, by=by, value=value)


def _one_sided(metric: Metric, observed: Observations) -> OneSided | None:
    """That all values of an opinion are the same."""
    if metric.kind != "bool" or metric.is_event or len(observed.total) < ONE_SIDED_FROM:
        return None
    only_true, only_false = bool((observed.total == 1).all()), bool((observed.total == 0).all())
    if only_true or (only_false and not metric.higher_is_better):
        return OneSided(metric=metric.name, said=only_true)
    return None


def _too_many(found: MissingShare, *, relative: bool) -> bool:
    """More than MOST_UNPRICED of an arm that the bound needs, or more in one arm than in the other: of the
    baseline only for a bound against it. The missing costs may be the dear ones."""
    ours = found.candidate > MOST_UNPRICED or (found.different and found.candidate > found.baseline)
    theirs = found.baseline > MOST_UNPRICED or found.different
    return ours or (theirs and relative)


def unknown_costs(criteria: Sequence[Criterion], sample: Sample) -> UnknownCosts | None:
    """How many costs are not known, if too many are: in either arm, or more in one than in the other. None
    for a canary without a row on costs and without any known cost."""
    found = unpriced(sample)
    if found is None or not (max(found.candidate, found.baseline) > MOST_UNPRICED or found.different):
        return None
    rows = any(is_cost(row.metric) for row in criteria)
    if not rows and min(found.candidate, found.baseline) >= 1:
        return None
    return UnknownCosts(candidate=found.candidate, baseline=found.baseline)


# Says where one arm's values are missing more often than the other's, and where values were cut.


_LACK = ("cost", "tokens", "latency", "ttft")
"""The measures that an abandoned exchange lacks."""


def unequal_response(sample: Sample, observed: Observations, row: Row) -> UnequalResponse | None:
    """The caveat for feedback that one arm's users give more often; None if the rates do not differ."""
    if not observed.feedback:
        return None
    found = response(sample, observed)
    if not found.different or found.p_value is None:
        return None
    return UnequalResponse(
        metric=row.metric,
        acceptable=row.criterion.acceptable.text,
        rates=found.rates,
        phases=found.phases,
        p_value=found.p_value,
        ends=_ends(row),
    )


def _ends(row: Row) -> tuple[float, float] | None:
    comparison = row.reading.comparison
    if not isinstance(comparison, BracketedComparison):
        return None
    low, high = sorted(case.contrast(1, 0).estimate for case in comparison.trimmed)
    return low, high


def unequal_abandonment(sample: Sample, criteria: Sequence[Criterion]) -> UnevenlyAbandoned | None:
    """The caveat for requests that callers abandon more often in one arm, with the metrics that lack them;
    None if the shares do not differ."""
    lost = abandoned(sample)
    if lost is None or not lost.different:
        return None
    lacking = tuple(row.metric for row in criteria if source(row.metric) in _LACK)
    return UnevenlyAbandoned(share=lost, lacking=lacking)


def late_feedback(observed: Observations, criterion: Criterion) -> LateFeedback | None:
    """The note for feedback that comes days late; None if it does not."""
    return LateFeedback(metric=criterion.metric, days=observed.waits) if observed.waits else None


def capped(observed: Observations, criterion: Criterion) -> Capped | None:
    """The note for amounts that were cut; None if none was."""
    at = observed.capped_at
    return (
        None if at is None else Capped(metric=criterion.metric, acceptable=criterion.acceptable.text, at=at)
    )


# Says what hangs on few users: a row that keeps its bound only by their many exchanges, and their traffic.


_BY_CHANCE = 0.02
"""How often chance alone names busy users in a report: the level of all its rows together. It is low because
only those rows are asked that pass by requests and not by users."""

_TOLD = 3
"""So many users are named."""

BUSY = 0.1
"""A user with more than this part of the candidate's requests is named."""

_WHOLE = re.compile("[0-9a-f]{32}")
"""A unit as the store has it, hashed."""


def not_by_users(
    sample: Sample, reading: MetricReading, row: Row, sums: ArmSums, *, rows: int
) -> NotByUsers | None:
    """The caveat for a row that is decided, but by no look (without a plan, by no band) in which each user
    counts once; None where one of them says the same, where both values differ by chance, and where each
    counts once anyway. `rows`: the number of the rubric's rows."""
    voices, would = reading.by_users, {"IDEAL": "pass", "PASS": "pass", "FAIL": "fail"}.get(row.state)
    if voices is None or would is None:
        return None
    if row.standing is None:
        band = _oriented(voices, row.criterion.acceptable)
        said = [outcome(band.low, band.high)]
    else:
        said = [look.seen.by_users for look in row.looks if look.seen and look.seen.by_users]
    if would in said or not said:
        return None
    z = _better_by_requests(sums, row.criterion.acceptable) * (1 if would == "pass" else -1)
    if special.ndtr(-z) >= _BY_CHANCE / rows:
        return None
    candidate, baseline = values_by_users(reading)
    users, part = _movers(sums.sums)
    return NotByUsers(
        metric=row.metric,
        acceptable=row.criterion.acceptable.text,
        candidate=candidate or 0.0,
        baseline=baseline,
        users=tuple(_short(sample.units[user]) for user in users),
        part=part,
    )


def _better_by_requests(sums: ArmSums, bound: Bound) -> float:
    """By how many standard errors the row is better than if each user counted once; 0 where each does."""
    voices = sums.by_users
    if voices is None:
        return 0.0
    factor, _ = bound.terms
    ours, theirs = arms(sums.sums), arms(voices.sums)
    se = math.sqrt(float(np.sum((ours.influence(factor) - theirs.influence(factor)) ** 2)))
    better = (ours.value(factor) - theirs.value(factor)) * (1 if bound.higher_is_better else -1)
    return better / se if se > 0 else 0.0


def values_by_users(reading: MetricReading) -> tuple[float | None, float | None]:
    """The candidate's and the baseline's value if each user counts once; None where each does anyway, or
    without one."""
    if reading.by_users is None:
        return None, None
    candidate = reading.by_users.contrast(0, 0).estimate
    if not reading.baseline_units:
        return candidate, None
    return candidate, candidate - reading.by_users.contrast(1, 0).estimate


def _movers(sums: UnitSums) -> tuple[list[int], float]:
    """The candidate's units that move its value most from the one by users, and their part of the counts."""
    unit, place = np.unique(sums.unit[sums.candidate], return_inverse=True)
    count = np.bincount(place, weights=sums.count[sums.candidate])
    total = np.bincount(place, weights=sums.total[sums.candidate])
    mean, part = total / count, count / count.sum()
    moves = (part - 1 / len(unit)) * (mean - mean.mean())
    most = np.argsort(-moves * np.sign(moves.sum()), kind="stable")[:_TOLD]
    return unit[most].tolist(), float(part[most].sum())


def busy_user(sample: Sample) -> BusyUser | None:
    """The candidate's busiest user, if more than a tenth of its requests are theirs; None else, and while all
    users are few."""
    known = sample.totals.get(TRAFFIC)
    if known is None:
        return None
    counts = np.bincount(sample.unit[sample.candidate], weights=known.count[sample.candidate])
    if np.count_nonzero(counts) < GATE or counts.max() <= BUSY * counts.sum():
        return None
    busiest = int(np.argmax(counts))
    return BusyUser(user=_short(sample.units[busiest]), part=float(counts[busiest] / counts.sum()))


def _short(unit: str) -> str:
    """The unit's hash, shortened: the store's, or one of what a log has."""
    return unit[:8] if _WHOLE.fullmatch(unit) else hashlib.sha256(unit.encode()).hexdigest()[:8]


def units_not_users(sample: Sample, *, by_session: bool) -> UnitsNotUsers | None:
    """Whose units they are, where they are no users. `by_session`: the canary's units are sessions."""
    found = sample.behind
    if found is None:
        units = len(sample.units)
        return UnitsNotUsers(of="session", units=units, known=0, users=0, sure=True) if by_session else None
    return UnitsNotUsers(
        of="request" if found.single and not by_session else "session",
        units=found.units,
        known=found.known,
        users=found.users,
        sure=by_session or found.known > 0 or not found.single,
        fleeting=found.fleeting and not by_session,
    )


def traffic_differs(sample: Sample) -> TrafficDiffers | None:
    """The caveat for users who send more requests, or fewer, than those of the other arm in the same phases:
    who leaves takes along what an error rate would count; None where chance explains it."""
    known = sample.totals.get(TRAFFIC)
    if known is None:
        return None
    rows = np.flatnonzero(known.count)
    found = unit_sums(
        sample.unit[rows], sample.phase[rows], sample.candidate[rows], known.count[rows], np.ones(len(rows))
    )
    common = common_phases(found.phase, found.candidate, int(sample.phase.max(initial=0)) + 1)
    sums = found.only(common[found.phase])
    both = _of_a_user(sums, sums.total)
    p = _unequal(both)
    if both is None or p is None:
        return None
    return TrafficDiffers(
        candidate=both.candidate.value,
        baseline=both.baseline.value,
        phases=len(np.unique(sums.phase)),
        p_value=p,
    )


def sessions_differ(
    criterion: Criterion, found: ArmSums, metrics: Mapping[str, Metric]
) -> SessionsDiffer | None:
    """The caveat for a row by the session where users have more sessions, or fewer, than those of the other
    arm: a cost by the session falls where a task is cut into more of them. None where chance explains it."""
    if not per_session(criterion.metric, metrics):
        return None
    sums = found.sums
    counts, totals = _of_a_user(sums, sums.count), _of_a_user(sums, sums.total)
    p = _unequal(counts)
    if counts is None or totals is None or p is None:
        return None
    return SessionsDiffer(
        metric=criterion.metric,
        acceptable=criterion.acceptable.text,
        sessions=(counts.candidate.value, counts.baseline.value),
        by_user=(totals.candidate.value, totals.baseline.value),
        phases=len(np.unique(sums.phase)),
        p_value=p,
    )


FAR_BELOW = 2 / 3
"""Sessions of at most this part of the baseline's size end early."""

_FEWEST = 20
"""Fewer users of an arm do not tell how large its sessions are."""

_SOON = 50
"""The candidate's users with which the test is at its sharpest."""

_SEVERAL = 1.5
"""Sessions of fewer requests on average are no tasks that could end early."""


def sessions_end_early(
    sample: Sample, rows: Sequence[Row], metrics: Mapping[str, Metric]
) -> SessionsEndEarly | None:
    """The caveat for sessions that are far smaller in the candidate, by requests or else by tokens: a model
    that gives up early is cheaper and shorter. None where chance explains it at any look, and where a row
    that passes says that tasks are done as often."""
    if any(_says_done(row, metrics) for row in rows):
        return None
    sizes = {metric: _sizes(sample, metric) for metric in END_EARLY}
    requests = sizes["session_exchanges"]
    if requests is None or requests[0].baseline.value < _SEVERAL:
        return None
    for metric in END_EARLY:
        found = sizes[metric]
        if found is None:
            continue
        both, units, phases = found
        ours, theirs = both.candidate.value, both.baseline.value
        if not 0 < ours <= FAR_BELOW * theirs:
            continue
        se = math.sqrt(float(np.sum(both.log_influence() ** 2)))
        tau = units * sequence.tuning(alpha=ALPHA, planned=_SOON)
        p = sequence.p_value(math.log(ours / theirs) / se, tau) if se > 0 else 0.0
        if p < ALPHA:
            return SessionsEndEarly(metric=metric, candidate=ours, baseline=theirs, phases=phases, p_value=p)
    return None


def _says_done(row: Row, metrics: Mapping[str, Metric]) -> bool:
    """True for a row that passes and tells whether tasks are done."""
    metric = metrics.get(row.metric)
    if metric is None or row.state not in ("PASS", "IDEAL"):
        return False
    tells = metric.name == "task_completed" or metric.per == "session"
    return tells and metric.kind == "bool" and metric.higher_is_better


def _sizes(sample: Sample, metric: str) -> tuple[Arms, int, int] | None:
    """What a session has of a measure in both arms, in the phases that both have; the candidate's users and
    the phases. None while an arm has too few users, and where nothing can be computed."""
    known = sample.totals.get(metric)
    counted = np.flatnonzero(known.count) if known is not None else ()
    if known is None or len(counted) == 0:
        return None
    place = (sample.unit[counted], sample.phase[counted], sample.candidate[counted])
    found = unit_sums(*place, known.total[counted], known.count[counted])
    common = common_phases(found.phase, found.candidate, int(sample.phase.max(initial=0)) + 1)
    sums = found.only(common[found.phase])
    units = sums.units(candidate=True)
    if min(units, sums.units(candidate=False)) < _FEWEST:
        return None
    try:
        return arms(sums), units, len(np.unique(sums.phase))
    except NotComputed:
        return None  # a row on the measure would say why


def _of_a_user(sums: UnitSums, values: Floats) -> Arms | None:
    """What a unit has of these values, (rows,), in both arms; None while an arm has too few units."""
    if min(sums.units(candidate=True), sums.units(candidate=False)) < GATE:
        return None
    return arms(replace(sums, total=values, count=np.ones(len(values))))


def _unequal(both: Arms | None) -> float | None:
    """The p-value of equal means; None where chance explains the difference."""
    z = both.value(1) / both.se(1) if both is not None and both.se(1) > 0 else 0.0
    p = float(2 * special.ndtr(-abs(z)))
    return p if p < DIFFERENT else None
