"""The exchanges that one report is about, as conditions on the table `outcomes`."""

from dataclasses import dataclass

import sqlalchemy as sa

from records.outcome import BLAMED, UNREACHED
from records.tables import outcomes

_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWindow:
    """One run of a canary, from its first exchange to its last, UTC seconds, while both arms had a share."""

    canary: str
    run: int
    since: float
    until: float

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last UTC day number, by which PostgreSQL partitions."""
        return int(self.since // _DAY_S), int(self.until // _DAY_S)

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Of this run, assigned by the hash, without mirror copies; of any outcome."""
        columns = outcomes.c
        return [
            columns.canary == self.canary,
            columns.run == self.run,
            columns.day.between(*self.days),
            columns.at.between(self.since, self.until),
            *concurrent_cohort(),
        ]


def concurrent_cohort() -> list[sa.ColumnElement[bool]]:
    """Assigned by the hash while both arms had a share, no mirror copy. No index is by these columns."""
    columns = outcomes.c
    return [
        columns.reason == "cohort", columns.mirror.is_(False), columns.share > 0, columns.share < 1,
    ]  # fmt: skip


def measured() -> sa.ColumnElement[bool]:
    """The arm answered or failed, as in `Outcome.measured`."""
    columns = outcomes.c
    failed = columns.outcome.in_(("fallback", "error")) & columns.error_type.in_(BLAMED)
    return (columns.outcome == "ok") | failed


def unreached() -> sa.ColumnElement[bool]:
    """The arm was not asked though it is not to blame, as in `Outcome.unreached`."""
    columns = outcomes.c
    return columns.outcome.in_(("fallback", "error")) & columns.error_type.in_(UNREACHED)
