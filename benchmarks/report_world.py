"""Fills a store like weeks of traffic would: unit totals, a session for each, and some feedback."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from records.durations import LONGEST_S, SHORTEST_S
from records.exchange_id import mint
from records.store.database import driver_of
from records.store.days import Days
from records.store.prior import WEEK_S
from records.tables import feedback, outcomes, unit_days

FIRST_DAY = 20_700
DAY_S = 86400.0
CATEGORIES = ("billing", "returns", "shipping", "other")
_REGIONS, _PLANS = 12, 8

Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class World:
    """Equal arms, with the candidate at 10 %. On most days a user's requests have one category, else two.

    One exchange in `speaks` has feedback: csat and task_completed.
    """

    exchanges: int
    units: int
    days: int = 14
    speaks: float = 0.005
    share: float = 0.1
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))


def fill(engine: sa.Engine, world: World) -> int:
    """Write everything; returns the number of rows of unit totals."""
    Days(engine).need(range(FIRST_DAY, FIRST_DAY + world.days))
    users = _Users(world)
    cells = 0
    for day in range(FIRST_DAY, FIRST_DAY + world.days):
        rows = list(users.cells(day))
        cells += len(rows)
        with engine.begin() as connection:
            _write(connection, unit_days, rows)
            _speak(connection, world, rows)
            connection.exec_driver_sql(
                "INSERT INTO sessions SELECT canary, run, unit || '-' || day || category, unit, arm, phase, "
                "category, tags, first_at, last_at, exchanges, exchanges / 5, '' FROM unit_days "
                f"WHERE day = {day}"
            )
    with engine.begin() as connection:
        add_prior_weeks(connection)
        for table in ("unit_days", "outcomes", "sessions", "feedback", "prior_weeks"):
            connection.exec_driver_sql(f"ANALYZE {table}")
    return cells


def add_prior_weeks(connection: sa.Connection) -> None:
    """What the users did in the four weeks before: each week as much as on the run's first day."""
    first = int(FIRST_DAY * DAY_S // WEEK_S)
    for week in range(first - 4, first):
        connection.exec_driver_sql(
            f"INSERT INTO prior_weeks SELECT {week}, 'openai', 'gpt-4o', unit, {(week + 1) * WEEK_S - 60.0}, "
            "sum(counted), sum(failed), sum(latency_n), sum(latency_sum), sum(ttft_n), sum(ttft_sum), "
            "sum(cost_n), sum(cost_sum), sum(tokens_n), sum(tokens_sum) FROM unit_days "
            f"WHERE day = {FIRST_DAY} GROUP BY unit"
        )


class _Users:
    """The users, the same on all days."""

    def __init__(self, world: World) -> None:
        rng, units = world.rng, world.units
        self._world = world
        self._names = [
            f"{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for number in range(units)
        ]
        self._arm = np.where(rng.random(units) < world.share, "candidate", "baseline").tolist()
        self._habit = rng.normal(size=units)
        self._category = rng.integers(len(CATEGORIES), size=units)
        places = zip(rng.integers(_PLANS, size=units), rng.integers(_REGIONS, size=units), strict=True)
        self._tags = [f'{{"plan":"p{plan}","region":"r{region}"}}' for plan, region in places]

    def cells(self, day: int) -> Iterator[Row]:
        """The day's rows of `unit_days`."""
        world, rng = self._world, self._world.rng
        asked = rng.poisson(world.exchanges / world.units / world.days, size=world.units)
        aside = np.where(rng.random(world.units) < 0.3, rng.binomial(asked, 0.3), 0)
        unit = np.concatenate([np.arange(world.units)] * 2)
        size = np.concatenate([asked - aside, aside])
        category = np.concatenate(
            [self._category, (self._category + rng.integers(1, 4, size=world.units)) % 4]
        )
        unit, category, size = unit[size > 0], category[size > 0], size[size > 0]
        begin = DAY_S * (day + 0.9 * rng.random(len(unit)))
        length_s = np.where(size > 1, rng.exponential(600, size=len(unit)).clip(1, 8000), 0.0)
        latency = self._durations(unit, size, 1.2)
        ttft = self._durations(unit, size, 0.4)
        cost = size * np.exp(rng.normal(-4, 0.5, size=len(unit)))
        failed = rng.binomial(size, 0.003)
        ends = np.cumsum(size)
        columns = (unit, category, size, begin, begin + length_s, failed, cost, 2 * (ends - size), 2 * ends)
        for u, c, n, first, last, bad, usd, start, end in zip(
            *(each.tolist() for each in columns), strict=True
        ):
            yield (
                "support-nov", 1, 0, self._arm[u], False, self._names[u], day, CATEGORIES[c], self._tags[u],
                world.share, first, last, n, n, bad, n, 1.3 * n, n, 0.5 * n, n, usd, n, 900.0 * n,
                latency[start:end], ttft[start:end], n, 0, 0, 0, 0, 0, 0, n, 0,
            )  # fmt: skip

    def _durations(self, unit: Any, size: Any, middle_s: float) -> bytes:
        rng = self._world.rng
        seconds = middle_s * np.exp(
            np.repeat(0.3 * self._habit[unit], size) + 0.5 * rng.normal(size=size.sum())
        )
        per_e = 65534 / np.log(LONGEST_S / SHORTEST_S)
        return (1 + np.rint(np.log(seconds / SHORTEST_S) * per_e)).astype("<u2").tobytes()


def _speak(connection: sa.Connection, world: World, cells: Sequence[Row]) -> None:
    """One exchange of some of the rows, with feedback a little later."""
    rng = world.rng
    chosen = rng.choice(
        len(cells), size=min(len(cells), int(world.speaks * world.exchanges / world.days)), replace=False
    )
    outcome_rows, feedback_rows = [], []
    for number, place in enumerate(chosen.tolist()):
        cell = cells[place]
        arm, unit, day, category, tags, at = cell[3], cell[5], cell[6], cell[7], cell[8], cell[10]
        serial = (day * 10_000_000 + number).to_bytes(8)
        name = mint(
            b"k" * 32, canary="support-nov", run=1, phase=0, arm=arm, unit_hash=unit, at=at, serial=serial
        )
        outcome_rows.append(
            (
                day, name, at, "support-nov", 1, 0, world.share, arm, arm, "cohort", unit, "", category, tags,
                "", "openai", "openai", "chat", "gpt-4o", "a", False, False, 200, "ok", None, 1.3, 0.5, 0.5,
                0.0, 700, 0, 0, 200, 0, False, 0.02, "[]", "", "stop", "", "", None, None, None, None, False,
            )
        )  # fmt: skip
        for metric, value in (
            ("csat", float(rng.integers(3, 6))), ("task_completed", float(rng.random() < 0.85)),
        ):  # fmt: skip
            feedback_rows.append(
                (
                    f"{name}/{metric}",
                    metric,
                    value,
                    at + 60,
                    name,
                    "",
                    unit,
                    "support-nov",
                    1,
                    0,
                    arm,
                    "",
                    "",
                    day,
                )
            )
    _write(connection, outcomes, outcome_rows)
    _write(connection, feedback, feedback_rows)


def _write(connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> None:
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", list(rows))
    else:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        with (
            driver_of(connection).cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
