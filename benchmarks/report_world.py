"""Fills a store like weeks of traffic would: unit totals, a session for each, segments of all exchanges, some
feedback, and what happened in sessions and to users."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from benchmarks.report_segments import DayCells, write_segments
from records.facts.exchange_id import mint
from records.store import Store
from records.store.database import driver_of
from records.store.retention import DailyPartitions
from records.store.sums import LONGEST_S, SHORTEST_S, WEEK_S
from records.store.tables import failure_days, feedback, unit_days

FIRST_DAY = 20_700
DAY_S = 86400.0
CATEGORIES = ("billing", "returns", "shipping", "other")
_REGIONS, _PLANS = 12, 8

Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class World:
    """Equal arms, with the candidate at 10 %. On most days a user's requests have one category, else two.

    One exchange in `speaks` has feedback: csat and task_completed, and one in a hundred of these breaks a
    rule. One session in `needs_help` is escalated, and in as many its user buys.
    """

    exchanges: int
    units: int
    days: int = 14
    speaks: float = 0.005
    needs_help: float = 0.05
    share: float = 0.1
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))


def fill(engine: sa.Engine, store: Store, world: World) -> int:
    """Write everything; returns the number of rows of unit totals."""
    DailyPartitions(engine).need(range(FIRST_DAY, FIRST_DAY + world.days))
    users = _Users(world)
    cells = 0
    for number in range(FIRST_DAY, FIRST_DAY + world.days):
        day = users.day(number)
        cells += len(day.size)
        with engine.begin() as connection:
            _write(connection, unit_days, day.totals())
            named = _speak(connection, day)
            _write(connection, feedback, list(_happened(day)))
            _write(connection, failure_days, day.failures())
            connection.exec_driver_sql(
                "INSERT INTO sessions SELECT canary, run, unit || '-' || day || category, unit, arm, phase, "
                "category, tags, first_at, last_at, exchanges, exchanges / 5, '', cost_n, cost_sum, "
                "tokens_n, tokens_sum, input_tokens, cached_tokens, exchanges, 0, failed > 0 FROM unit_days "
                f"WHERE day = {number}"
            )
        write_segments(store, day.cells(named), world.share, world.rng)
    with engine.begin() as connection:
        add_prior_weeks(connection)
        for table in ("unit_days", "segments", "sessions", "feedback", "prior_weeks"):
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
        self.world = world
        self.names = [
            f"{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for number in range(units)
        ]
        self.candidate = rng.random(units) < world.share
        self.habit = rng.normal(size=units)
        self.category = rng.integers(len(CATEGORIES), size=units)
        places = zip(rng.integers(_PLANS, size=units), rng.integers(_REGIONS, size=units), strict=True)
        self.tags = [f'{{"plan":"p{plan}","region":"r{region}"}}' for plan, region in places]

    def day(self, number: int) -> "_Day":
        """What they do on a day."""
        world, rng = self.world, self.world.rng
        asked = rng.poisson(world.exchanges / world.units / world.days, size=world.units)
        aside = np.where(rng.random(world.units) < 0.3, rng.binomial(asked, 0.3), 0)
        unit = np.concatenate([np.arange(world.units)] * 2)
        size = np.concatenate([asked - aside, aside])
        category = np.concatenate([self.category, (self.category + rng.integers(1, 4, size=world.units)) % 4])
        return _Day(self, number, unit[size > 0], category[size > 0], size[size > 0])


class _Day:
    """A day's exchanges, by unit and category: `size` of them in each row."""

    def __init__(self, users: _Users, number: int, unit: Any, category: Any, size: Any) -> None:
        rng = users.world.rng
        self.users, self.number, self.unit, self.category, self.size = users, number, unit, category, size
        begin = DAY_S * (number + 0.9 * rng.random(len(unit)))
        length_s = np.where(size > 1, rng.exponential(600, size=len(unit)).clip(1, 8000), 0.0)
        self.begin, self.end = (np.floor(at * 1e6) / 1e6 for at in (begin, begin + length_s))
        self.latency_s, self.ttft_s = self._durations_s(1.2), self._durations_s(0.4)
        self.cost = size * np.exp(rng.normal(-4, 0.5, size=len(unit)))
        self.failed = rng.binomial(size, 0.003)
        self.arm = np.where(users.candidate[unit], "candidate", "baseline").tolist()

    def totals(self) -> Iterator[Row]:
        """Rows of `unit_days`."""
        users, ends = self.users, np.cumsum(self.size)
        latency, ttft = _packed(self.latency_s), _packed(self.ttft_s)
        columns = (
            self.unit, self.category, self.size, self.begin, self.end, self.failed, self.cost,
            2 * (ends - self.size), 2 * ends,
        )  # fmt: skip
        for arm, u, c, n, first, last, bad, usd, start, end in zip(
            self.arm, *(each.tolist() for each in columns), strict=True
        ):
            yield (
                "support-nov", 1, 0, arm, False, users.names[u], self.number, CATEGORIES[c], users.tags[u],
                users.world.share, first, last, n, n, bad, n, 1.3 * n, n, 0.5 * n, n, usd, n, 900.0 * n,
                latency[start:end], ttft[start:end], n, 0, 0, 0, 0, 0, 0, n, 0, 700 * n, 400 * n, *[0] * 8,
            )  # fmt: skip

    def failures(self) -> Iterator[Row]:
        """Rows of `failure_days`, without examples."""
        candidate = self.users.candidate[self.unit]
        for arm, own in (("baseline", ~candidate), ("candidate", candidate)):
            about = (arm, "error", "provider_5xx", "stop", "", "", True, False)
            yield ("support-nov", 1, self.number, *about, int(self.failed[own].sum()), "")

    def cells(self, named: Any) -> DayCells:
        """The same for segments; `named` as there."""
        units, tags = (
            pa.array(values).take(pa.array(self.unit)) for values in (self.users.names, self.users.tags)
        )
        category = pa.array(CATEGORIES).take(pa.array(self.category))
        return DayCells(
            unit=np.frombuffer(bytes.fromhex("".join(self.users.names)), dtype=np.uint8).reshape(-1, 16)[
                self.unit
            ],
            candidate=self.users.candidate[self.unit],
            category=category,
            tags=tags,
            session=pc.binary_join_element_wise(units, "-", str(self.number), category, ""),
            named=named,
            size=self.size,
            failed=self.failed,
            begin=self.begin,
            end=self.end,
            cost=self.cost,
            latency_s=self.latency_s,
            ttft_s=self.ttft_s,
        )

    def _durations_s(self, middle_s: float) -> Any:
        rng, size = self.users.world.rng, self.size
        habit = np.repeat(0.3 * self.users.habit[self.unit], size)
        return middle_s * np.exp(habit + 0.5 * rng.normal(size=size.sum()))


def _packed(seconds: Any) -> bytes:
    per_e = 65534 / np.log(LONGEST_S / SHORTEST_S)
    return (1 + np.rint(np.log(seconds / SHORTEST_S) * per_e)).astype("<u2").tobytes()


def _speak(connection: sa.Connection, day: _Day) -> Any:
    """The first exchange of some of the rows has feedback a little later; returns its id by row, else ""."""
    users, world, rng = day.users, day.users.world, day.users.world.rng
    rows = len(day.size)
    chosen = rng.choice(rows, size=min(rows, int(world.speaks * world.exchanges / world.days)), replace=False)
    named = np.full(rows, "", dtype=object)
    feedback_rows = []
    for number, place in enumerate(chosen.tolist()):
        arm, unit, at = day.arm[place], users.names[day.unit[place]], float(day.begin[place])
        serial = (day.number * 10_000_000 + number).to_bytes(8)
        name = named[place] = mint(
            b"k" * 32, canary="support-nov", run=1, phase=0, arm=arm, unit_hash=unit, at=at, serial=serial
        )
        about = (at + 60, name, "", unit, "support-nov", 1, 0, arm, "", "", day.number)
        for metric, value in (
            ("csat", float(rng.integers(3, 6))), ("task_completed", float(rng.random() < 0.85)),
        ):  # fmt: skip
            feedback_rows.append((f"{name}/{metric}", metric, value, *about))
        if number % 100 == 0:
            feedback_rows.append((f"{name}/compliance", "compliance_violation", 1.0, *about))
    _write(connection, feedback, feedback_rows)
    return named


def _happened(day: _Day) -> Iterator[Row]:
    """Feedback by session, and by user: only what happened, as other systems send it."""
    users, rng = day.users, np.random.default_rng(day.number)
    for place in np.flatnonzero(rng.random(len(day.size)) < users.world.needs_help).tolist():
        unit, at = users.names[day.unit[place]], float(day.end[place]) + 60
        session = f"{unit}-{day.number}{CATEGORIES[day.category[place]]}"
        nowhere = ("", 0, 0, None, "", "", day.number)
        yield f"{session}/escalated", "escalated", 1.0, at, "", session, "", *nowhere
        yield f"{session}/conversion", "conversion", 1.0, at, "", "", unit, *nowhere
        yield f"{session}/revenue", "revenue", float(rng.gamma(2, 20)), at, "", "", unit, *nowhere


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
