"""Reads a fixed number of a run's newest exchanges and ratings from the store, by indexes, never by scans."""

from collections.abc import Collection, Iterator

import sqlalchemy as sa

from records.metric import Metric
from records.tables import feedback, outcomes
from report.recent import NEWEST, RATINGS, RecentRating, Seen, displeased
from report.run_window import RunWindow, concurrent_cohort, measured
from routing.canary import ArmName

_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")


def read_exchanges(connection: sa.Connection, window: RunWindow) -> tuple[Seen, ...]:
    """The window's newest counted exchanges, newest first."""
    columns = outcomes.c
    found = connection.execute(
        sa.select(columns.exchange_id, columns.arm, columns.latency_s)
        .where(*window.conditions(), measured())
        .order_by(columns.at.desc())
        .limit(NEWEST)
    )
    return tuple(
        Seen(name=row.exchange_id, candidate=row.arm == "candidate", latency_s=row.latency_s) for row in found
    )


def read_ratings(
    connection: sa.Connection, window: RunWindow, metrics: Collection[Metric]
) -> tuple[RecentRating, ...]:
    """The newest ratings of exchanges in the window, for those of these metrics that can be bad."""
    rated = (metric for metric in metrics if metric.kind in ("bool", "rating", "nps"))
    return tuple(
        rating for metric in rated for arm in _ARMS for rating in _ratings(connection, window, metric, arm)
    )


def _ratings(
    connection: sa.Connection, window: RunWindow, metric: Metric, arm: ArmName
) -> Iterator[RecentRating]:
    columns = feedback.c
    newest = (
        sa.select(columns.exchange_id, columns.day, columns.value, columns.at)
        .where(
            columns.canary == window.canary,
            columns.metric == metric.name,
            columns.run == window.run,
            columns.arm == arm,
            columns.day.between(*window.days),
        )
        .order_by(columns.at.desc())
        .limit(RATINGS)
        .subquery()
    )
    found = connection.execute(
        sa.select(newest.c.exchange_id, newest.c.value, outcomes.c.category)
        .join(
            outcomes,
            (outcomes.c.day == newest.c.day) & (outcomes.c.exchange_id == newest.c.exchange_id),
        )
        .where(*concurrent_cohort())
        .order_by(newest.c.at.desc())
    )
    for row in found:
        yield RecentRating(
            name=row.exchange_id,
            metric=metric.name,
            candidate=arm == "candidate",
            category=row.category,
            bad=displeased(metric, row.value),
        )
