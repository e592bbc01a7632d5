"""Reads a canary's run from the store as a sample, with its newest failures and its users' earlier values."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa

from judge.judgements import NOT_JUDGED, RunJudgements
from records.facts.exchange_id import time_and_serial
from records.facts.metric import BUILT_IN, Metric, Per
from records.outcome import INVALID_OUTPUT, THROTTLED, UNREACHED, blames_arm
from records.store.segments.columns import faults_of
from records.store.sums import WEEK_S, unpack
from records.store.tables import failure_days, feedback, prior_weeks, unit_days
from routing.canary import ArmName, Match
from verdict.details import EXAMPLES, CountedKind, FailureMode, Mirror
from verdict.sample.outages import outage_days, stored_outage
from verdict.sample.sample import (
    NEWEST,
    RATINGS,
    SESSIONS,
    TRAFFIC,
    ArmTotal,
    DayTotals,
    DayValues,
    MeasureTotals,
    Numbered,
    RecentFailures,
    RecentRating,
    Sample,
    SeenExchange,
    TextColumn,
    displeased,
    in_one_arm,
)
from verdict.sample.stored_feedback import ExchangeKeys, find, newest, read_feedback, read_sessions
from verdict.sample.unit_totals import (
    COHORT,
    MEASURED,
    SUMS,
    VALUES,
    WINDOW,
    CellIndex,
    Cells,
    RunPart,
    RunWindow,
    TotalsScope,
    concurrent,
    concurrent_cohort,
    joined,
    measured,
    of_run,
    read_cells,
    stream,
)
from verdict.statistics.types import Floats
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import END_EARLY, facts_of, is_cost, per_unit, source

# What each unit did before a run: its earlier values of the metrics, from the store.


WEEKS = 4
"""Whole weeks before the run that are read; the week in which it began comes on top."""

_COLUMNS = prior_weeks.c
_SUMS = {
    "errors": (_COLUMNS.counted, _COLUMNS.failed),
    "latency": (_COLUMNS.latency_n, _COLUMNS.latency_sum),
    "ttft": (_COLUMNS.ttft_n, _COLUMNS.ttft_sum),
    "cost": (_COLUMNS.cost_n, _COLUMNS.cost_sum),
    "tokens": (_COLUMNS.tokens_n, _COLUMNS.tokens_sum),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorTraffic:
    """Which traffic a run's units are known from: the baseline's entry, the canary's match, the run's start.

    `since` is the first exchange of the canary's first run, UTC seconds.
    """

    canary: str
    provider: str
    match: Match
    since: float

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """The rows of `prior_weeks`. Where the canary takes only a part of its models' requests, the others
        go on after the start, so the week of the start is left out."""
        week = int(self.since // WEEK_S)
        partial = self.match.paths or self.match.headers or self.match.tags
        models = [_COLUMNS.model.in_(sorted(self.match.models))] if self.match.models else []
        return [
            _COLUMNS.week.between(week - WEEKS, week - 1 if partial else week),
            _COLUMNS.provider == self.provider,
            _COLUMNS.last_at < self.since,
            *models,
        ]


def began(connection: sa.Connection, canary: str, run: int, first_at: float) -> float:
    """The first exchange of the canary's first run, where this run's is at `first_at`."""
    columns = unit_days.c
    earlier = sa.select(sa.func.min(columns.first_at)).where(
        columns.canary == canary, columns.run < run, columns.mirror.is_(False)
    )
    found = connection.execute(earlier).scalar()
    return first_at if found is None else min(first_at, float(found))


def read_before(
    connection: sa.Connection,
    prior: PriorTraffic,
    units: Numbered,
    metrics: Collection[str],
    declared: Mapping[str, Metric] = BUILT_IN,
) -> Mapping[str, Floats]:
    """`Sample.before` for these metrics: mean and weight of what is known of each unit, (units, 2); of events
    their sum, 0 without any."""
    measures = {name: source(name) for name in metrics if name not in declared or not declared[name].cost_per}
    events = {name for name in measures if name in declared and declared[name].is_event}
    sums = {
        **_totals(connection, prior, units, {of for of in measures.values() if of in _SUMS}),
        **_feedback(connection, prior, units, [name for name, of in measures.items() if of is None]),
    }
    return {
        name: of_units(*sums[of or name], whole=per_unit(name) or name in events)
        for name, of in measures.items()
        if (of or name) in sums
    }


def of_units(count: Floats, total: Floats, *, whole: bool = False) -> Floats:
    """The unit's mean, NaN without one, and its total less what as many average values come to.

    The second tells apart the units that are active: their sums vary most. `whole`: the total is the value.
    """
    if whole:
        return total.reshape(-1, 1)
    known = count > 0
    mean = np.full(len(count), np.nan, dtype=total.dtype)
    mean[known] = total[known] / count[known]
    return np.column_stack([mean, total - total.sum(dtype=np.float64) / max(count.sum(), 1.0) * count])


def _totals(
    connection: sa.Connection, prior: PriorTraffic, units: Numbered, measures: Collection[str]
) -> dict[str, tuple[Floats, Floats]]:
    wanted = [name for name in _SUMS if name in measures]
    if not wanted:
        return {}
    columns = [sa.func.sum(sa.cast(column, sa.Double)) for name in wanted for column in _SUMS[name]]
    statement = sa.select(_COLUMNS.unit, *columns).where(*prior.conditions()).group_by(_COLUMNS.unit)
    found = np.zeros((len(columns), len(units)), dtype=np.float32)
    for unit, *values in stream(connection, statement):
        number = units.known(unit)
        found[:, number[number >= 0]] = np.array(values, dtype=np.float32)[:, number >= 0]
    return (
        {} if not found.any() else dict(zip(wanted, zip(found[::2], found[1::2], strict=True), strict=True))
    )


def _feedback(
    connection: sa.Connection, prior: PriorTraffic, units: Numbered, metrics: Collection[str]
) -> dict[str, tuple[Floats, Floats]]:
    """Values from before the run of exchanges without a canary, or before it had a share, and of units."""
    columns = feedback.c
    statement: Any = (
        sa.select(columns.metric, columns.unit, sa.func.count(), sa.func.sum(columns.value))
        .where(
            columns.metric.in_(metrics),
            columns.canary.in_(("", prior.canary)),
            columns.phase == 0,
            columns.unit != "",
            columns.at.between(prior.since - WEEKS * WEEK_S, prior.since),
            columns.at < prior.since,
        )
        .group_by(columns.metric, columns.unit)
    )
    found: dict[str, tuple[Floats, Floats]] = {}
    for names, unit, count, total in stream(connection, statement) if metrics else ():
        number, name = units.known(unit), np.array(names, dtype=np.str_)
        for metric in np.unique(name[number >= 0]).tolist():
            sums = found.setdefault(metric, (np.zeros(len(units)), np.zeros(len(units))))
            mine = (name == metric) & (number >= 0)
            for sum_, values in zip(sums, (count, total), strict=True):
                sum_[number[mine]] = np.array(values, dtype=np.float64)[mine]
    return found


_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")


def read_exchanges(connection: sa.Connection, window: RunWindow) -> tuple[SeenExchange, ...]:
    """The window's newest counted exchanges, newest first."""
    found = newest(
        connection,
        (*WINDOW, *MEASURED, "exchange_id", "arm", "latency_s"),
        lambda: window.condition() & measured(),
        since=window.since,
        until=window.until,
        most=NEWEST,
    )
    rows = zip(*(found[name].to_pylist() for name in ("exchange_id", "arm", "latency_s")), strict=True)
    return tuple(
        SeenExchange(name=name, candidate=arm == "candidate", latency_s=latency_s)
        for name, arm, latency_s in rows
    )


def read_ratings(
    connection: sa.Connection, window: RunWindow, metrics: Collection[Metric]
) -> tuple[RecentRating, ...]:
    """The newest ratings of exchanges in the window, for those of these metrics that can be bad."""
    # Of an event only what happened is sent, so its values tell of no share.
    rated = [each for each in metrics if each.kind in ("bool", "rating", "nps") and not each.is_event]
    given = [
        (metric, arm, row)
        for metric in rated
        for arm in _ARMS
        for row in _given(connection, window, metric, arm)
    ]
    categories = _categories(connection, [row.exchange_id for *_, row in given])
    return tuple(
        RecentRating(
            name=row.exchange_id,
            metric=metric.name,
            candidate=arm == "candidate",
            category=categories[place],
            bad=displeased(metric, row.value),
        )
        for place, (metric, arm, row) in enumerate(given)
        if place in categories
    )


def _given(
    connection: sa.Connection, window: RunWindow, metric: Metric, arm: ArmName
) -> Sequence[sa.Row[Any, Any]]:
    """An arm's newest ratings of exchanges, newest first, found by an index."""
    columns = feedback.c
    return connection.execute(
        sa.select(columns.exchange_id, columns.value)
        .where(
            columns.canary == window.canary,
            columns.metric == metric.name,
            columns.run == window.run,
            columns.arm == arm,
            columns.day.between(*window.days),
        )
        .order_by(columns.at.desc())
        .limit(RATINGS)
    ).all()


def _categories(connection: sa.Connection, ids: Sequence[str]) -> Mapping[int, str]:
    """The category of each of these exchanges by its place, if it is one of the concurrent cohort."""
    found: dict[int, str] = {}
    for places, table in find(connection, ExchangeKeys.of(ids), (*COHORT, "category"), concurrent_cohort):
        found.update(zip(places.tolist(), table["category"].to_pylist(), strict=True))
    return found


# Counts a run's errors, answer faults and abandoned requests: all of them, from the totals of its days.


Name: TypeAlias = tuple[CountedKind, str]
"""A failure mode: its kind, and the error type or fault."""


def read_modes(
    connection: sa.Connection, window: RunWindow, totals: Mapping[str, ArmTotal]
) -> tuple[FailureMode, ...]:
    """The failure modes of all exchanges in the window, with the newest of the candidate as examples.

    `totals` are the exchanges that could have failed so, by measure (`measure_of`).
    """
    rows = _failures(connection, window)
    found, examples = _counts(rows), _examples(rows)
    return tuple(_mode(name, count, totals[measure_of(name)], examples) for name, count in found.items())


def measure_of(name: Name) -> str:
    """The measure in `Sample.possible` that counts the exchanges in which this mode was possible."""
    kind, fault = name
    if kind != "fault":
        return "errors" if kind == "error" else "abandoned"
    return "invalid_output" if fault in INVALID_OUTPUT else "answer_faults"


def _mode(
    name: Name, found: Counter[str], of: ArmTotal, examples: Mapping[Name, tuple[str, ...]]
) -> FailureMode:
    return FailureMode(
        kind=name[0],
        name=name[1],
        category="",
        baseline=found["baseline"],
        baseline_of=of.baseline,
        candidate=found["candidate"],
        candidate_of=of.candidate,
        examples=examples.get(name, ()),
    )


def _failures(connection: sa.Connection, window: RunWindow) -> Sequence[sa.Row[Any]]:
    """The totals of the run's days: a row for each day, arm and way to fail, of which there are few."""
    columns = failure_days.c
    of_run = sa.and_(columns.canary == window.canary, columns.run == window.run)
    return connection.execute(sa.select(failure_days).where(of_run, columns.day.between(*window.days))).all()


def _counts(rows: Iterable[sa.Row[Any]]) -> Mapping[Name, Counter[str]]:
    """The exchanges of each mode by arm."""
    found: dict[Name, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name in _names(row):
            found[name][row.arm] += row.exchanges
    return found


def _examples(rows: Iterable[sa.Row[Any]]) -> Mapping[Name, tuple[str, ...]]:
    """The ids of each mode's newest exchanges of the candidate, newest first."""
    found: dict[Name, set[str]] = defaultdict(set)
    for row in rows:
        if row.arm == "candidate":
            for name in _names(row):
                found[name].update(row.newest.split(" ")[:EXAMPLES])
    return {name: tuple(sorted(ids, key=_time, reverse=True)[:EXAMPLES]) for name, ids in found.items()}


def _time(exchange_id: str) -> tuple[int, int]:
    """What orders exchanges by their time."""
    return time_and_serial(exchange_id) or (0, 0)


def _names(row: Any) -> Iterator[Name]:
    """The modes of a row's exchanges."""
    if row.outcome == "aborted":
        if row.silent or not row.stream:
            yield "abandoned", "abandoned"
        return
    if row.outcome != "ok" and blames_arm(row.error_type):
        yield "error", row.error_type
    for fault in faults_of(row.faults) if row.finish else ():
        if fault not in INVALID_OUTPUT or row.output_check == "judged":
            yield "fault", fault


# Reads a canary's run from the store as a sample: hash-assigned traffic, with feedback and sessions.


def from_store(
    connection: sa.Connection,
    canary: str,
    run: int | None = None,
    *,
    metrics: Collection[str] = (),
    declared: Mapping[str, Metric] = BUILT_IN,
    segments: Sequence[str] = (),
    cuts: Callable[[Floats], Sequence[float]] = lambda _candidate_at: (),
    prior: tuple[str, Match] | None = None,
    judged: RunJudgements = NOT_JUDGED,
    assigned_outside: bool = False,
    part: RunPart | None = None,
) -> Sample:
    """The run's unit totals (None: the latest run) while both arms had a share, with the measures, tags and
    feedback that these metrics and segments need. `declared` says what a metric of feedback is.

    Left out: pinned and randomly assigned requests, requests bound to provider state, mirror copies, shed
    requests. The caller's own errors, aborted exchanges, those that did not reach their arm and those in the
    hours of an outage count as exposure only. A cost from estimated usage counts as missing. `cuts` gives,
    from times of candidate traffic as in `Sample.candidate_at`, the midnights that split rows. `prior`: the
    entry of the baseline and the requests that the canary takes, to know its units from before. `judged` is
    what a judge said of the run; with it, the sample counts its exchanges. `part` is that of the run, None:
    all. Raises BadSample for a unit in both arms of a phase, or leaves it out where the arms were
    `assigned_outside`.
    """
    said = facts_of(metrics, declared)
    priced = {declared[name].cost_per for name in metrics if name in declared}
    scope = TotalsScope(
        canary=canary,
        run=_latest(connection, canary) if run is None else run,
        segments=segments,
        sources={
            *(measure for name in metrics if (measure := source(name, declared)) is not None),
            *(_EXPOSED[metric.per] for metric in said if metric.per in _EXPOSED),
            TRAFFIC,
        },
        early={
            (measure, metric.matures_after_s)
            for metric in said
            if metric.is_event and metric.matures_after_s > 0
            for measure in (_EXPOSED.get(metric.per), "cost" if metric.name in priced else None)
            if measure is not None
        },
        part=part,
    )
    candidate_at, possible, by_day, values_by_day = _by_day(connection, scope)
    outage = stored_outage(connection, scope, by_day["errors"])
    scope = replace(scope, cuts=cuts(candidate_at), outage=outage)
    cells = read_cells(connection, scope)
    if outage is not None:
        out = outage_days(connection, scope, outage)
        cells = out.from_cells(cells, scope)
        by_day = {name: out.from_days(name, days) for name, days in by_day.items()}
        values_by_day = {name: out.from_day_values(name, days) for name, days in values_by_day.items()}
    places = CellIndex(cells)
    sample = Sample(
        units=tuple(cells.names.units),
        unit=cells.keys.unit,
        candidate=cells.keys.candidate,
        phase=cells.keys.phase,
        first_at=cells.first_at,
        last_at=cells.last_at,
        candidate_at=candidate_at,
        category=TextColumn(names=list(cells.names.categories), code=cells.keys.category),
        totals={**cells.totals, **_of_sessions(cells, read_sessions(connection, scope, places))},
        values=cells.values,
        tags=cells.names.labels(cells.keys.place),
        feedback=read_feedback(connection, scope, places, said),
        shares=_shares(cells),
        possible=possible,
        by_day=by_day,
        values_by_day=values_by_day,
        outage=outage,
        before=_before(connection, scope, cells, prior, metrics, declared),
        judged=judged,
    )
    return in_one_arm(sample, assigned_outside=assigned_outside)


def _before(
    connection: sa.Connection,
    scope: TotalsScope,
    cells: Cells,
    prior: tuple[str, Match] | None,
    metrics: Collection[str],
    declared: Mapping[str, Metric],
) -> Mapping[str, Floats]:
    if prior is None or len(cells.first_at) == 0:
        return {}
    provider, match = prior
    since = began(connection, scope.canary, scope.run, float(cells.first_at[0]))
    known = PriorTraffic(canary=scope.canary, provider=provider, match=match, since=since)
    return read_before(connection, known, cells.names.units, metrics, declared)


def to_judge(
    connection: sa.Connection,
    canary: JudgedCanary,
    run: int | None = None,
    *,
    cuts: Callable[[Floats], Sequence[float]] = lambda _candidate_at: (),
    judged: RunJudgements = NOT_JUDGED,
    part: RunPart | None = None,
) -> Sample:
    """The sample for a report of the run (None: the latest run): the rubric's metrics, cost, and failures.
    `cuts`, `judged` and `part` as in `from_store`."""
    if run is None:
        run = _latest(connection, canary.name)
    sample = from_store(
        connection,
        canary.name,
        run,
        metrics=[
            *(criterion.metric for criterion in canary.criteria),
            "cost_total",
            "error_rate",
            "abandoned",
            *END_EARLY,
            *(
                ["session_cache_hits"]
                if any(is_cost(row.metric, canary.metrics) for row in canary.criteria)
                else []
            ),
        ],
        declared=canary.metrics,
        segments=canary.segments,
        cuts=cuts,
        prior=(canary.baseline.provider, canary.match) if canary.baseline and canary.match else None,
        judged=judged,
        assigned_outside=canary.assigned_outside,
        part=part,
    )
    if len(sample.last_at) == 0:
        return sample
    since, until = float(sample.first_at[0]), float(sample.last_at.max())
    window = RunWindow(canary=canary.name, run=run, since=since, until=until)
    return replace(
        sample,
        recent=_recent(connection, canary, window, sample),
        unreached=_unreached(connection, window, "candidate"),
        candidate_exchanges=sample.possible["exchanges"].candidate,
        baseline_throttled=_unreached(connection, window, "baseline").get(THROTTLED, 0),
        baseline_exchanges=sample.possible["exchanges"].baseline,
    )


def _unreached(connection: sa.Connection, window: RunWindow, arm: ArmName) -> Mapping[str, int]:
    """An arm's exchanges as in `Sample.unreached`, from the totals of the run's days."""
    columns = failure_days.c
    found = sa.select(
        columns.error_type, sa.func.sum(sa.cast(columns.exchanges, sa.Double)).label("exchanges")
    )
    unreached = columns.outcome.in_(("fallback", "error")) & columns.error_type.in_(UNREACHED)
    of_run = (columns.canary == window.canary) & (columns.run == window.run)
    found = found.where(of_run, columns.day.between(*window.days), columns.arm == arm, unreached)
    return {
        row.error_type: int(row.exchanges) for row in connection.execute(found.group_by(columns.error_type))
    }


def _recent(
    connection: sa.Connection, canary: JudgedCanary, window: RunWindow, sample: Sample
) -> RecentFailures:
    return RecentFailures(
        since=window.since,
        until=window.until,
        baseline=sample.possible["errors"].baseline,
        candidate=sample.possible["errors"].candidate,
        modes=read_modes(connection, window, sample.possible),
        exchanges=read_exchanges(connection, window),
        ratings=read_ratings(connection, window, canary.metrics.values()),
    )


def mirrored(connection: sa.Connection, canary: str, run: int | None = None) -> Mirror | None:
    """The run's mirror copies (`run` None: the latest run); None without any."""
    scope = TotalsScope(canary=canary, run=_latest(connection, canary) if run is None else run)
    columns = unit_days.c
    sums = connection.execute(
        sa.select(
            sa.func.sum(columns.exchanges).label("copies"),
            sa.func.sum(columns.failed).label("failed"),
            sa.func.sum(columns.cost_n).label("priced"),
            sa.func.sum(columns.cost_sum).label("cost_usd"),
        ).where(*of_run(scope), columns.mirror.is_(True))
    ).one()
    if not sums.copies:
        return None
    cost_usd = float(sums.cost_usd) if sums.priced else None
    return Mirror(copies=int(sums.copies), failed=int(sums.failed), cost_usd=cost_usd)


def _latest(connection: sa.Connection, canary: str) -> int:
    """The last run with totals; 0, which is not a run, without any."""
    latest = sa.select(sa.func.max(unit_days.c.run)).where(unit_days.c.canary == canary)
    return connection.execute(latest).scalar() or 0


_EXPOSED: Mapping[Per, str] = {"exchange": TRAFFIC, "session": SESSIONS}
"""The measure that counts what an event may happen to. Users need none."""

_POSSIBLE = {
    "errors": unit_days.c.counted,
    "answer_faults": unit_days.c.finished,
    "invalid_output": unit_days.c.output_judged,
    "abandoned": unit_days.c.ended,
    "exchanges": unit_days.c.exchanges,
}


def _by_day(
    connection: sa.Connection, scope: TotalsScope
) -> tuple[Floats, Mapping[str, ArmTotal], Mapping[str, DayTotals], Mapping[str, DayValues]]:
    """The first and the last moment of candidate traffic on each UTC day, `Sample.possible`, `Sample.by_day`
    and `Sample.values_by_day`."""
    columns = unit_days.c
    measures = {name: SUMS[name] for name in SUMS if name in scope.sources or name == "errors"}
    sums = [
        sa.func.sum(sa.cast(column, sa.Double)).label(f"{what}_of_{name}")
        for name, pair in measures.items()
        for what, column in zip(("count", "total"), pair, strict=True)
    ]
    counts = (sa.func.sum(sa.cast(column, sa.Double)).label(name) for name, column in _POSSIBLE.items())
    values = {name: column for name, column in VALUES.items() if name in scope.sources}
    # By a number, because SQLite would look each row up by the primary key to group by arm and day.
    arm_and_day = 2 * columns.day + sa.case((columns.arm == "candidate", 1), else_=0)
    days = connection.execute(
        sa.select(
            sa.func.max(columns.arm).label("arm"),
            sa.func.max(columns.day).label("day"),
            sa.func.min(columns.first_at).label("first_at"),
            sa.func.max(columns.last_at).label("last_at"),
            *counts,
            *sums,
            *(joined(connection, column).label(name) for name, column in values.items()),
        )
        .where(*concurrent(scope))
        .group_by(arm_and_day)
    ).all()
    moments = [at for day in days if day.arm == "candidate" for at in (day.first_at, day.last_at)]
    possible = {name: _total(days, name) for name in _POSSIBLE}
    by_day = {name: _daily(days, name) for name in measures}
    return (
        np.array(moments, dtype=np.float64),
        possible,
        by_day,
        {name: _heights(days, name) for name in values},
    )


def _heights(days: Sequence[Any], measure: str) -> DayValues:
    scale = unpack(np.arange(1 << 16, dtype="<u2").tobytes())
    codes = [np.frombuffer(getattr(day, measure) or b"", dtype="<u2") for day in days]
    return DayValues(
        day=np.array([day.day for day in days], dtype=np.int64),
        candidate=np.array([day.arm == "candidate" for day in days], dtype=np.bool_),
        heights=np.array([np.bincount(each, minlength=len(scale)) for each in codes], dtype=np.int64).reshape(
            -1, len(scale)
        ),
        scale=scale,
    )


def _daily(days: Sequence[Any], measure: str) -> DayTotals:
    count, total = (
        np.array([getattr(day, f"{what}_of_{measure}") or 0.0 for day in days], dtype=np.float64)
        for what in ("count", "total")
    )
    return DayTotals(
        day=np.array([day.day for day in days], dtype=np.int64),
        candidate=np.array([day.arm == "candidate" for day in days], dtype=np.bool_),
        count=count,
        total=total,
    )


def _total(days: Sequence[Any], name: str) -> ArmTotal:
    baseline, candidate = (
        int(sum(getattr(day, name) for day in days if day.arm == arm)) for arm in ("baseline", "candidate")
    )
    return ArmTotal(baseline=baseline, candidate=candidate)


def _shares(cells: Cells) -> dict[int, float]:
    """The candidate's share in each phase, from the phase's newest cell."""
    by_last = np.argsort(cells.last_at, kind="stable")
    return dict(zip(cells.keys.phase[by_last].tolist(), cells.share[by_last].tolist(), strict=True))


def _of_sessions(cells: Cells, found: Mapping[str, MeasureTotals]) -> Mapping[str, MeasureTotals]:
    """The measures of sessions, with the exchanges without one."""
    return {
        name: each.plus(cells.totals[name]) if name in cells.totals else each for name, each in found.items()
    }
