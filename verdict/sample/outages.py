"""Hours in which the baseline had an outage, which count for neither arm.

The baseline's failures alone tell which. What the candidate did has no say, so hours in which it failed alone
count, and what is left out can only make the baseline look better.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy import special

from records.outcome import Outcome
from records.store import sums
from records.store.segments.columns import outcome_of
from records.store.segments.sources import sources
from records.store.tables import unit_days
from verdict.sample.sample import (
    HOUR_S,
    ArmTotal,
    DayTotals,
    DayValues,
    MeasureTotals,
    Outage,
    Sample,
    Values,
    within,
)
from verdict.sample.unit_totals import (
    COHORT,
    SESSIONLESS,
    SUMS,
    CellIndex,
    Cells,
    RowKeys,
    TotalsScope,
    concurrent_cohort,
    measured,
)
from verdict.statistics.types import Bools, Floats, Ints, picked
from verdict.terms.plan import DAY_S

TIMES = 5
"""In an outage so many times as many of the baseline's users fail as usual."""

LEAST_USUAL = 0.02
"""A smaller usual share is taken for this one, so that a tenth fails in an outage at least."""

LEVEL = 1e-6
"""The level at which an hour is told from a usual one."""

_MOST_DAYS = 0.2
"""Outages on a larger part of the days, and on more than one, are no exception: all hours count."""

_FEW_DAYS = 4
"""With fewer days, the usual share is that of hours."""

_NEAR = 0.002
"""A day whose share is above the usual one by less has no outage that is worth an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests that their arm answered or failed, (n,) each; `at` in UTC seconds."""

    at: Floats
    unit: Ints
    candidate: Bools
    failed: Bools

    def firsts(self) -> "Requests":
        """Each unit's first request in every hour: what a unit does within one is no independent evidence."""
        order = np.argsort(self.at, kind="stable")
        key = (self.hour[order] * (self.unit.max(initial=0) + 1) + self.unit[order]) * 2
        first = order[np.unique(key + self.candidate[order], return_index=True)[1]]
        return picked(self, first)

    @property
    def hour(self) -> Ints:
        return np.floor(self.at / HOUR_S).astype(np.int64)


def find_outage(days: DayTotals, requests_of: Callable[[Ints], Requests]) -> Outage | None:
    """The hours in which at least TIMES as many of the baseline's users as usual fail, at LEVEL (binomial).

    `days` are all failures by day; `requests_of` gives the requests of some days, of those on which more fail
    than usual. None without such an hour.
    """
    own = ~days.candidate & (days.count > 0)
    day, count, failed = days.day[own], days.count[own], days.total[own]
    if not failed.any():
        return None
    few, usual = len(day) < _FEW_DAYS, _middle(failed, count)
    near = day if few else day[failed > (usual + _NEAR) * count]
    if not len(near):
        return None
    hours = _Hours(requests_of(near).firsts())
    usual = hours.usual if few else usual
    out = hours.out(max(usual, LEAST_USUAL))
    bad = len(np.unique(hours.hour[out] // 24))
    return hours.outage(out, usual) if 0 < bad <= max(1, _MOST_DAYS * len(day)) else None


class _Hours:
    """Users' first requests by hour; of the baseline's, (hours,), how many, and how many failed."""

    def __init__(self, first: Requests) -> None:
        self._first = first
        self.hour, self._place = np.unique(first.hour, return_inverse=True)
        self._of, self._failed = (
            np.bincount(self._place[~first.candidate & each], minlength=len(self.hour))
            for each in (True, first.failed)
        )

    @property
    def usual(self) -> float:
        return _middle(self._failed.astype(np.float64), self._of.astype(np.float64))

    def out(self, usual: float) -> Bools:
        """Marks the hours of an outage."""
        more = (self._failed > 0) & (self._failed >= TIMES * usual * self._of)
        return np.asarray(more & (special.bdtrc(self._failed - 1, self._of, usual) < LEVEL), dtype=np.bool_)

    def outage(self, out: Bools, usual: float) -> Outage:
        rows = out[self._place]
        return Outage(
            hours=tuple(self.hour[out].tolist()),
            usual=usual,
            failed=_by_arm(self._first.candidate, rows & self._first.failed),
            of=_by_arm(self._first.candidate, rows),
        )


def _middle(failed: Floats, of: Floats) -> float:
    """The median of the shares, weighted; 0 of nothing."""
    share = failed / np.maximum(of, 1)
    order = np.argsort(share)
    upto = np.cumsum(of[order])
    return float(share[order][np.searchsorted(upto, upto[-1] / 2)]) if len(of) else 0.0


def _by_arm(candidate: Bools, rows: Bools) -> ArmTotal:
    return ArmTotal(baseline=int((rows & ~candidate).sum()), candidate=int((rows & candidate).sum()))


def outside_outages(sample: Sample) -> Sample:
    """A sample whose rows each lie within one hour, as those of a log do, without these hours."""
    errors = sample.totals.get("errors")
    if errors is None or not errors.total.any():
        return sample
    day, some = np.floor(sample.first_at / DAY_S).astype(np.int64), errors.count > 0
    place = 2 * (day - day.min()) + sample.candidate
    count, total = (np.bincount(place, weights=each) for each in (errors.count, errors.total))
    every = np.arange(len(count))
    days = DayTotals(day=every // 2 + day.min(), candidate=every % 2 == 1, count=count, total=total)

    def requests_of(wanted: Ints) -> Requests:
        rows = some & np.isin(day, wanted)
        return Requests(
            at=sample.first_at[rows],
            unit=sample.unit[rows],
            candidate=sample.candidate[rows],
            failed=errors.total[rows] > 0,
        )

    outage = find_outage(days, requests_of)
    return sample if outage is None else sample.outside(outage)


# The same from the store, whose rows span days: what lies in the hours is subtracted from them.


def stored_outage(connection: sa.Connection, scope: TotalsScope, days: DayTotals) -> Outage | None:
    """The run's outage, from single exchanges of the days that look like one. `days`: the run's failures."""
    return find_outage(days, lambda wanted: _requests(connection, scope, wanted))


def _requests(connection: sa.Connection, scope: TotalsScope, days: Ints) -> Requests:
    from pyarrow import concat_tables
    from pyarrow.compute import call_function

    from records.store.segments.arrow import micros, schema_of

    kept, columns = ("at", "unit", "arm", "outcome"), ("canary", "run", "phase", *COHORT, "error_type")
    found = [schema_of(kept).empty_table()]
    for day in days.tolist():
        begin, end = day * DAY_S, (day + 1) * DAY_S
        where = _in_run(scope, begin, end) & measured()
        for source in sources(connection, since=begin, until=end):
            table = source.read_coded([*kept, *columns]).filter(where)
            found.append(table.select(kept).cast(found[0].schema))
    table = concat_tables(found)
    candidate, failed = (
        call_function(how, [table[name], text]).to_numpy()
        for how, name, text in (("equal", "arm", "candidate"), ("not_equal", "outcome", "ok"))
    )
    return Requests(
        at=micros(table["at"]) / 1e6,
        unit=table["unit"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        candidate=candidate,
        failed=failed,
    )


def _in_run(scope: TotalsScope, begin: float, end: float) -> Any:
    """Of the scope's run and part, assigned by the hash, from `begin` to before `end`, UTC seconds."""
    from pyarrow.compute import field

    from records.store.segments.arrow import moment

    own = (field("canary") == scope.canary) & (field("run") == scope.run) & concurrent_cohort()
    begun = (field("at") >= moment(begin)) & (field("at") < moment(end))
    part = scope.part
    if part is None:
        return own & begun
    begun &= (field("phase") >= part.first) & (field("at") >= moment(part.from_day * DAY_S))
    return own & begun if part.before is None else own & begun & (field("phase") < part.before)


@dataclass(frozen=True, slots=True)
class OutageDays:
    """What the outage's hours add to the run's rows of `unit_days`, by column, (n,) each."""

    columns: Mapping[str, Sequence[Any]]

    def number(self, name: str) -> Floats:
        return np.array(self.columns[name], dtype=np.float64)

    def from_days(self, measure: str, days: DayTotals) -> DayTotals:
        """The measure by day without them."""
        own = 2 * self.number("day") + (np.array(self.columns["arm"]) == "candidate")
        every, place = np.unique(np.concatenate([2 * days.day + days.candidate, own]), return_inverse=True)
        rows, mine = place[: len(days.day)], place[len(days.day) :]
        totals = MeasureTotals(count=days.count, total=days.total)
        left = self._less(totals, SUMS[measure], np.where(np.isin(mine, rows), mine, -1), len(every), rows)
        return replace(days, count=left.count, total=left.total)

    def from_day_values(self, name: str, days: DayValues) -> DayValues:
        """The single values by day without them."""
        heights = days.heights.copy()
        for day, arm, packed in zip(*(self.columns[each] for each in ("day", "arm", name)), strict=True):
            row = (days.day == day) & (days.candidate == (arm == "candidate"))
            heights[row] -= np.bincount(np.frombuffer(packed, dtype="<u2"), minlength=len(days.scale))
        return replace(days, heights=np.maximum(heights, 0))

    def from_cells(self, cells: Cells, scope: TotalsScope) -> Cells:
        """The cells without them."""
        named, rows = self.columns, len(cells.first_at)
        keys = [named["unit"], named["category"], named["phase"], named["arm"]]
        keys += [named["tags"]] if scope.segments else []
        keys += [scope.pieces(np.array(named["day"])).tolist()] if scope.cuts else []
        row = CellIndex(cells).find(RowKeys.read(keys, cells.names, new=False))
        first = np.full(len(cells.names.units), np.inf)
        np.minimum.at(first, cells.keys.unit, cells.first_at)
        since = self.number("first_at") - first[cells.keys.unit[row]]
        every, found = {**SUMS, **SESSIONLESS}, dict(cells.totals)
        wanted = [(name, name, row) for name in every]
        wanted += [(within(name, s), name, np.where(since <= s, row, -1)) for name, s in scope.early]
        for name, measure, places in wanted:
            if name in found:
                found[name] = self._less(found[name], every[measure], places, rows, np.arange(rows))
        values = {name: self._of_values(name, each, row) for name, each in cells.values.items()}
        return replace(cells, totals=found, values=values)

    def _less(
        self, totals: MeasureTotals, sums: Sequence[Any], place: Ints, places: int, rows: Ints
    ) -> MeasureTotals:
        """The totals of these rows less the sums at each place, −1 for none."""
        known = place >= 0
        count, total = (
            np.bincount(place[known], weights=self.number(column.name)[known], minlength=places)[rows]
            for column in sums
        )
        left = totals.count - count
        return MeasureTotals(count=left, total=np.where(left > 0, totals.total - total, 0.0))

    def _of_values(self, name: str, values: Values, row: Ints) -> Values:
        codes = [np.frombuffer(packed, dtype="<u2") for packed in self.columns[name]]
        rows = np.repeat(row, [len(each) for each in codes])
        return values.without(rows[rows >= 0], np.concatenate(codes)[rows >= 0])


def outage_days(connection: sa.Connection, scope: TotalsScope, outage: Outage) -> OutageDays:
    """The run's traffic in these hours."""
    rows = sums.unit_days(_outcomes(connection, scope, outage))
    names = [column.name for column in unit_days.columns]
    return OutageDays(dict(zip(names, zip(*rows, strict=True), strict=True)))


def _outcomes(connection: sa.Connection, scope: TotalsScope, outage: Outage) -> Iterator[Outcome]:
    for begin, end in outage.spans:
        for source in sources(connection, since=begin, until=end):
            yield from map(outcome_of, source.read(where=_in_run(scope, begin, end)).to_pylist())
