"""The newest exchanges and bad ratings out of the store.

A fixed number of them, found by an index: never a scan, however many there are.
"""

from collections.abc import Collection

import sqlalchemy as sa

from records.metric import Metric
from records.outcome import blames_arm
from records.tables import feedback, outcomes
from report.recent import COMPLAINTS, NEWEST, Complaint, Recent, Seen

_COUNTED = ("ok", "fallback", "error")


def read_recent(
    connection: sa.Connection, canary: str, run: int, metrics: Collection[Metric], *, until: float
) -> Recent:
    """The run's among the newest exchanges until `until`, UTC seconds, and these metrics' bad ratings."""
    complaints = [each for metric in metrics for each in _complaints(connection, canary, run, metric)]
    return Recent(exchanges=_exchanges(connection, canary, run, until), complaints=tuple(complaints))


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


def _complaints(connection: sa.Connection, canary: str, run: int, metric: Metric) -> list[Complaint]:
    columns = feedback.c
    newest = (
        sa.select(columns.exchange_id, columns.day, columns.value, columns.at)
        .where(
            columns.canary == canary,
            columns.metric == metric.name,
            columns.run == run,
            columns.arm == "candidate",
            columns.exchange_id != "",
            _bad(columns.value, metric),
        )
        .order_by(columns.at.desc())
        .limit(COMPLAINTS)
        .subquery()
    )
    found = connection.execute(
        sa.select(newest.c.exchange_id, outcomes.c.category)
        .join(
            outcomes,
            (outcomes.c.day == newest.c.day) & (outcomes.c.exchange_id == newest.c.exchange_id),
        )
        .order_by(newest.c.at.desc())
    )
    return [Complaint(name=row.exchange_id, metric=metric.name, category=row.category) for row in found]


def _bad(value: sa.ColumnElement[float], metric: Metric) -> sa.ColumnElement[bool]:
    """As `displeased`, for the database."""
    if metric.kind == "nps":
        return value <= 6
    if metric.low is None or metric.high is None or metric.kind not in ("bool", "rating"):
        return sa.false()
    quarter = (metric.high - metric.low) / 4
    return value <= metric.low + quarter if metric.higher_is_better else value >= metric.high - quarter
