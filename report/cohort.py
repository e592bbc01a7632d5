"""A canary's run out of the store, as a sample: only what the hash assigned, with feedback and sessions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from records.tables import unit_days
from report.cells import Cells, concurrent, of_run, read_cells
from report.document import Mirror
from report.joining import read_feedback, read_sessions
from report.judged_canary import JudgedCanary
from report.keys import TotalsScope
from report.metrics import source
from report.newest import read_recent
from report.places import Places
from report.sample import MeasureTotals, Sample, TextColumn, refuse_units_in_both_arms
from report.statistics.types import Floats


def from_store(
    connection: sa.Connection,
    canary: str,
    run: int | None = None,
    *,
    metrics: Collection[str] = (),
    segments: Sequence[str] = (),
) -> Sample:
    """The run's unit totals (None: the latest run) while both arms had a share; of measures, tags and
    feedback only what these metrics and segments need.

    Left out: pins, draws and requests bound to provider state, mirror copies, shed requests. The caller's own
    errors and aborted exchanges are exposure only. A cost whose usage was estimated is missing. Raises
    BadSample for a unit in both arms of a phase.
    """
    sources = {name: source(name) for name in metrics}
    scope = TotalsScope(
        canary=canary,
        run=_latest(connection, canary) if run is None else run,
        segments=segments,
        sources={one for one in sources.values() if one is not None},
    )
    cells = read_cells(connection, scope)
    places = Places(cells)
    sample = Sample(
        units=tuple(cells.names.units),
        unit=cells.keys.unit,
        candidate=cells.keys.candidate,
        phase=cells.keys.phase,
        first_at=cells.first_at,
        last_at=cells.last_at,
        candidate_at=_candidate_at(connection, scope),
        category=TextColumn(names=list(cells.names.categories), code=cells.keys.category),
        totals={**cells.totals, **_sessions(connection, scope, places)},
        values=cells.values,
        tags=cells.names.labels(cells.keys.place),
        feedback=read_feedback(
            connection, scope, places, [name for name, found in sources.items() if found is None]
        ),
        shares=_shares(cells),
    )
    refuse_units_in_both_arms(sample)
    return sample


def to_judge(connection: sa.Connection, rollout: JudgedCanary, run: int | None = None) -> Sample:
    """What a report of the run needs (None: the latest run): the rubric's metrics, what is spent and what
    fails, and the newest exchanges one by one."""
    if run is None:
        run = _latest(connection, rollout.canary)
    sample = from_store(
        connection,
        rollout.canary,
        run,
        metrics=[*(one.metric for one in rollout.criteria), "cost_total", "error_rate"],
        segments=rollout.segments,
    )
    if len(sample.last_at) == 0:
        return sample
    until = float(sample.last_at.max())
    recent = read_recent(connection, rollout.canary, run, rollout.metrics.values(), until=until)
    return replace(sample, recent=recent)


def mirrored(connection: sa.Connection, canary: str, run: int | None = None) -> Mirror | None:
    """The run's mirror copies (None: the latest run's); None where there were none."""
    scope = TotalsScope(canary=canary, run=_latest(connection, canary) if run is None else run)
    columns = unit_days.c
    found = connection.execute(
        sa.select(
            sa.func.sum(columns.exchanges).label("copies"),
            sa.func.sum(columns.failed).label("failed"),
            sa.func.sum(columns.cost_n).label("priced"),
            sa.func.sum(columns.cost_sum).label("cost_usd"),
        ).where(*of_run(scope), columns.mirror.is_(True))
    ).one()
    if not found.copies:
        return None
    cost_usd = float(found.cost_usd) if found.priced else None
    return Mirror(copies=int(found.copies), failed=int(found.failed), cost_usd=cost_usd)


def _latest(connection: sa.Connection, canary: str) -> int:
    """The last run that has totals; 0, which no run is, where there is none."""
    latest = sa.select(sa.func.max(unit_days.c.run)).where(unit_days.c.canary == canary)
    return connection.execute(latest).scalar() or 0


def _candidate_at(connection: sa.Connection, scope: TotalsScope) -> Floats:
    """The first and the last moment of candidate traffic on each UTC day."""
    columns = unit_days.c
    days = connection.execute(
        sa.select(sa.func.min(columns.first_at), sa.func.max(columns.last_at))
        .where(*concurrent(scope), columns.arm == "candidate")
        .group_by(columns.day)
    ).all()
    return np.array([moment for day in days for moment in day], dtype=np.float64)


def _shares(cells: Cells) -> dict[int, float]:
    """The candidate's share in each phase, as the cell that was seen last has it."""
    by_last = np.argsort(cells.last_at, kind="stable")
    return dict(zip(cells.keys.phase[by_last].tolist(), cells.share[by_last].tolist(), strict=True))


def _sessions(connection: sa.Connection, scope: TotalsScope, places: Places) -> Mapping[str, MeasureTotals]:
    wanted = any(one.startswith("session_") for one in scope.sources)
    return read_sessions(connection, scope, places) if wanted else {}
