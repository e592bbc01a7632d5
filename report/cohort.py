"""A canary's run out of the store, as a sample: only what the hash assigned, feedback joined to exchanges."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa

from records.outcome import blames_arm
from records.tables import feedback, outcomes
from report.document import Mirror
from report.sample import Ratings, Sample, refuse_units_in_both_arms
from report.statistics.types import Floats

_Row: TypeAlias = sa.Row[*tuple[Any, ...]]
_MEASURED = ("ok", "fallback", "error")
_EXPOSED = (*_MEASURED, "caller_error", "aborted")


def from_store(connection: sa.Connection, canary: str, run: int | None = None) -> Sample:
    """The run's exchanges (None: the latest run) that a hash assigned while both arms had a share.

    Left out: pins, draws and requests bound to provider state, mirror copies, shed requests. The caller's own
    errors and aborted exchanges are exposure only. A cost whose usage was estimated is missing.
    """
    columns = outcomes.c
    rows = connection.execute(
        sa.select(
            columns.exchange_id,
            columns.unit,
            columns.session,
            columns.arm,
            columns.phase,
            columns.share,
            columns.at,
            columns.outcome,
            columns.error_type,
            columns.latency_s,
            columns.ttft_s,
            columns.cost_usd,
            columns.usage_estimated,
            columns.category,
            columns.tags,
        )
        .where(
            columns.canary == canary,
            columns.run == (_latest(connection, canary) if run is None else run),
            columns.reason == "cohort",
            columns.mirror.is_(False),
            columns.share > 0,
            columns.share < 1,
            columns.outcome.in_(_EXPOSED),
        )
        .order_by(columns.at, columns.exchange_id)
    ).all()
    values = connection.execute(sa.select(feedback).where(feedback.c.canary.in_((canary, "")))).all()
    sample = _sample(rows, _Join.of(rows).ratings(values))
    refuse_units_in_both_arms(sample)
    return sample


def mirrored(connection: sa.Connection, canary: str, run: int | None = None) -> Mirror | None:
    """The run's mirror copies (None: the latest run's); None where there were none."""
    columns = outcomes.c
    kinds = connection.execute(
        sa.select(
            columns.outcome,
            columns.error_type,
            sa.func.count().label("copies"),
            sa.func.sum(columns.cost_usd).label("cost_usd"),
        )
        .where(
            columns.canary == canary,
            columns.run == (_latest(connection, canary) if run is None else run),
            columns.mirror.is_(True),
        )
        .group_by(columns.outcome, columns.error_type)
    ).all()
    if not kinds:
        return None
    costs = [kind.cost_usd for kind in kinds if kind.cost_usd is not None]
    return Mirror(
        copies=sum(kind.copies for kind in kinds),
        failed=sum(kind.copies for kind in kinds if _failed(kind)),
        cost_usd=sum(costs) if costs else None,
    )


def _latest(connection: sa.Connection, canary: str) -> int | None:
    latest = sa.select(sa.func.max(outcomes.c.run)).where(outcomes.c.canary == canary)
    found: int | None = connection.execute(latest).scalar()
    return found


def _sample(rows: Sequence[_Row], ratings: Mapping[str, Ratings]) -> Sample:
    units, unit = np.unique(np.array([row.unit for row in rows], dtype=np.str_), return_inverse=True)
    costs = (None if row.usage_estimated else row.cost_usd for row in rows)
    names = sorted({name for row in rows for name in row.tags})
    return Sample(
        units=tuple(units.tolist()),
        unit=unit.astype(np.int64),
        candidate=np.array([row.arm == "candidate" for row in rows], dtype=np.bool_),
        phase=np.array([row.phase for row in rows], dtype=np.int64),
        at=np.array([row.at for row in rows], dtype=np.float64),
        counts=np.array([row.outcome in _MEASURED for row in rows], dtype=np.bool_),
        failed=np.array([_failed(row) for row in rows], dtype=np.bool_),
        latency_s=_floats(row.latency_s for row in rows),
        ttft_s=_floats(row.ttft_s for row in rows),
        cost_usd=_floats(costs),
        category=np.array([row.category for row in rows], dtype=np.str_),
        tags={name: np.array([row.tags.get(name, "") for row in rows], dtype=np.str_) for name in names},
        feedback=ratings,
        shares={row.phase: row.share for row in rows},
    )


def _failed(row: _Row) -> bool:
    return row.outcome in ("fallback", "error") and blames_arm(row.error_type)


def _floats(values: Iterable[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Join:
    """Which row a value belongs to: its exchange, or the last one of its session or unit before it."""

    exchanges: Mapping[str, int]
    sessions: Mapping[str, Sequence[int]]
    units: Mapping[str, Sequence[int]]
    at: Sequence[float]

    @classmethod
    def of(cls, rows: Sequence[_Row]) -> "_Join":
        sessions: dict[str, list[int]] = defaultdict(list)
        units: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            units[row.unit].append(place)
            if row.session:
                sessions[row.session].append(place)
        exchanges = {row.exchange_id: place for place, row in enumerate(rows)}
        return cls(exchanges, sessions, units, [row.at for row in rows])

    def ratings(self, values: Sequence[_Row]) -> Mapping[str, Ratings]:
        """The values by metric; one that belongs to no exchange of the sample is left out."""
        found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
        for value in values:
            place = self._place(value)
            if place is not None:
                found[value.metric].append((place, value.value, value.at))
        return {metric: _ratings(triples) for metric, triples in sorted(found.items())}

    def _place(self, value: _Row) -> int | None:
        if value.exchange_id:
            return self.exchanges.get(value.exchange_id)
        places = self.sessions.get(value.session, ()) if value.session else self.units.get(value.unit, ())
        before = bisect_right(places, value.at, key=lambda place: self.at[place])
        return places[before - 1] if before else None


def _ratings(triples: Sequence[tuple[int, float, float]]) -> Ratings:
    rows, values, times = zip(*triples, strict=True)
    return Ratings(
        row=np.array(rows, dtype=np.int64),
        value=np.array(values, dtype=np.float64),
        at=np.array(times, dtype=np.float64),
    )
