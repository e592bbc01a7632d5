"""Reads a fixed number of the newest exchanges and ratings from the store, by an index, never by a scan."""

from collections.abc import Collection, Iterator

import sqlalchemy as sa

from records.metric import Metric
from records.outcome import blames_arm
from records.tables import feedback, outcomes
from report.recent import NEWEST, RATINGS, Recent, RecentRating, Seen, displeased
from routing.canary import ArmName

_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
_COUNTED = ("ok", "fallback", "error")


def read_recent(
    connection: sa.Connection, canary: str, run: int, metrics: Collection[Metric], *, until: float
) -> Recent:
    """The run's exchanges among the newest up to `until`, UTC seconds, and the ratings of these metrics."""
    rated = (metric for metric in metrics if metric.kind in ("bool", "rating", "nps"))
    ratings = [
        rating
        for metric in rated
        for arm in _ARMS
        for rating in _ratings(connection, canary, run, metric, arm)
    ]
    return Recent(exchanges=_exchanges(connection, canary, run, until), ratings=tuple(ratings))


def _exchanges(connection: sa.Connection, canary: str, run: int, until: float) -> tuple[Seen, ...]:
    columns = outcomes.c
    newest = (
        sa.select(
            columns.exchange_id, columns.at, columns.arm, columns.category, columns.outcome,
            columns.error_type, columns.latency_s, columns.canary, columns.run, columns.reason,
            columns.mirror, columns.share,
        )
        .where(columns.at <= until)
        .order_by(columns.at.desc())
        .limit(NEWEST)
        .subquery()
    )  # fmt: skip
    found = connection.execute(
        sa.select(newest)
        .where(
            newest.c.canary == canary,
            newest.c.run == run,
            newest.c.reason == "cohort",
            newest.c.mirror.is_(False),
            newest.c.outcome.in_(_COUNTED),
            newest.c.share > 0,
            newest.c.share < 1,
        )
        .order_by(newest.c.at.desc())
    )
    return tuple(
        Seen(
            name=row.exchange_id,
            at=row.at,
            candidate=row.arm == "candidate",
            category=row.category,
            error_type=row.error_type if row.outcome != "ok" and blames_arm(row.error_type) else None,
            latency_s=row.latency_s,
        )
        for row in found
    )


def _ratings(
    connection: sa.Connection, canary: str, run: int, metric: Metric, arm: ArmName
) -> Iterator[RecentRating]:
    columns = feedback.c
    newest = (
        sa.select(columns.exchange_id, columns.day, columns.value, columns.at)
        .where(
            columns.canary == canary,
            columns.metric == metric.name,
            columns.run == run,
            columns.arm == arm,
            columns.exchange_id != "",
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
        .where(outcomes.c.reason == "cohort", outcomes.c.mirror.is_(False))
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
