"""What each unit did before a run: its earlier values of the metrics, from the store.

Only whole rows from before the run's first exchange are read, so nothing that the candidate may have changed
gets in. Which exchanges they are decides how much noise they explain, and never whether a result is right.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from records.store.sums import WEEK_S
from records.store.tables import feedback, prior_weeks, unit_days
from routing.canary import Match
from verdict.sample.stored import Numbered, stream
from verdict.statistics.types import Floats
from verdict.terms.measures import per_unit, source

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
    connection: sa.Connection, prior: PriorTraffic, units: Numbered, metrics: Collection[str]
) -> Mapping[str, Floats]:
    """`Sample.before` for these metrics: mean and weight of what is known of each unit, (units, 2)."""
    measures = {name: source(name) for name in metrics}
    sums = {
        **_totals(connection, prior, units, {of for of in measures.values() if of in _SUMS}),
        **_feedback(connection, prior, units, [name for name, of in measures.items() if of is None]),
    }
    return {
        name: of_units(*sums[of or name], whole=per_unit(name))
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
