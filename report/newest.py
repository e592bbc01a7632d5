"""Reads a fixed number of a run's newest exchanges and ratings from the store: no source further back than
these need."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from records.facts.metric import Metric
from records.store.tables import feedback
from report.recent import NEWEST, RATINGS, RecentRating, Seen, displeased
from report.run_window import COHORT, MEASURED, WINDOW, RunWindow, concurrent_cohort, measured
from report.stored_exchanges import ExchangeKeys, find, newest
from routing.canary import ArmName

_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")


def read_exchanges(connection: sa.Connection, window: RunWindow) -> tuple[Seen, ...]:
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
        Seen(name=name, candidate=arm == "candidate", latency_s=latency_s) for name, arm, latency_s in rows
    )


def read_ratings(
    connection: sa.Connection, window: RunWindow, metrics: Collection[Metric]
) -> tuple[RecentRating, ...]:
    """The newest ratings of exchanges in the window, for those of these metrics that can be bad."""
    rated = [metric for metric in metrics if metric.kind in ("bool", "rating", "nps")]
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
