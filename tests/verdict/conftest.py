"""Synthetic logs: users with habits of their own, in both arms, as the CSV that `report --from` reads."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from records.store.tables import PARTITIONED, metadata
from tests.verdict.totals import UnitTotals
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

START = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
DAY_S = 86400.0


@dataclass(frozen=True, kw_only=True)
class World:
    """How both arms behave: the baseline's means and what the candidate makes of them."""

    users: int = 6000
    share: float = 0.1
    days: float = 9.0
    per_user: float = 4.0
    completed: tuple[float, float] = (0.95, 0.95)
    latency_s: tuple[float, float] = (0.4, 0.4)
    cost_usd: tuple[float, float] = (0.04, 0.04)
    csat: tuple[float, float] = (4.6, 4.6)
    errors: tuple[float, float] = (0.004, 0.004)
    responds: tuple[float, float] = (0.8, 0.8)
    worse_in: Mapping[str, float] = field(default_factory=dict)
    """Category or region → how many points of completion the candidate loses there."""
    hard: Mapping[str, float] = field(default_factory=dict)
    """Category → how many points of completion both arms lose there."""
    seed: int = 11


Log = Callable[[World], Path]


def exchanges(world: World) -> list[dict[str, object]]:
    """The rows, in order of time. A user's rate, taste and speed stay the same over all its exchanges."""
    rng = np.random.default_rng(world.seed)
    rows: list[dict[str, object]] = []
    for user in range(world.users):
        arm = int(rng.random() < world.share)
        habit = rng.normal()
        category = ("billing", "returns", "other")[int(rng.integers(3))]
        region = ("eu", "us")[int(rng.integers(2))]
        lost = world.hard.get(category, 0.0) + (
            world.worse_in.get(category, world.worse_in.get(region, 0.0)) if arm else 0.0
        )
        completes = world.completed[arm] - lost
        for _ in range(1 + rng.poisson(world.per_user - 1)):
            failed = rng.random() < world.errors[arm]
            speaks = rng.random() < world.responds[arm]
            rows.append(
                {
                    "unit": f"u{user}",
                    "arm": ("baseline", "candidate")[arm],
                    "at": START + rng.random() * world.days * DAY_S,
                    "latency_s": world.latency_s[arm] * np.exp(0.2 * habit + 0.3 * rng.normal()),
                    "ttft_s": "",
                    "cost_usd": world.cost_usd[arm] * np.exp(0.3 * habit + 0.4 * rng.normal()),
                    "error_type": "provider_5xx" if failed else "",
                    "category": category,
                    "tag_region": region,
                    "metric_task_completed": int(rng.random() < completes) if speaks else "",
                    "metric_csat": int(
                        np.clip(round(world.csat[arm] + 0.3 * habit + 0.5 * rng.normal()), 1, 5)
                    )
                    if speaks
                    else "",
                }
            )
    return sorted(rows, key=lambda row: float(str(row["at"])))


@pytest.fixture(scope="session")
def write_log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Write a world's log, once in a session, and return its path."""
    folder = tmp_path_factory.mktemp("logs")
    written: dict[str, Path] = {}

    def write(world: World) -> Path:
        path = written.setdefault(repr(world), folder / f"{len(written)}.csv")
        if not path.exists():
            rows = exchanges(world)
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        return path

    return write


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def criteria() -> Sequence[Criterion]:
    """The contract's example."""
    rows = (
        ("task_completed", ">= 85%", ">= 90%", 40, "Do users get done what they came for?"),
        ("latency_p95", "< 2s", "< 1s", 25, "Do users wait too long?"),
        ("cost_per_request", "< 0.12", "< 0.06", 20, "What does an answer cost us?"),
        ("csat", "> 4.1", "> 4.4", 15, "Are users satisfied?"),
    )
    return tuple(
        Criterion(metric=m, acceptable=parse_bound(a), ideal=parse_bound(i), weight=w, question=q)
        for m, a, i, w, q in rows
    )


@pytest.fixture(scope="session")
def canary(criteria: Sequence[Criterion]) -> JudgedCanary:
    return JudgedCanary(name="support-nov", criteria=criteria, shares={0: 0.1}, segments=("region",))


@pytest.fixture(scope="session")
def now() -> float:
    """Nine days and a bit after the first exchange."""
    return START + 9.5 * DAY_S


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def unit_totals(request: pytest.FixtureRequest) -> Iterator[UnitTotals]:
    """An empty store of either kind, to be filled row by row."""
    url = "sqlite://"
    if request.param == "postgresql":
        fresh: str = request.getfixturevalue("postgres").fresh()
        url = fresh.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        if request.param == "postgresql":
            for table in PARTITIONED:
                every = f"CREATE TABLE {table.name}_every PARTITION OF {table.name} DEFAULT"
                connection.execute(sa.text(every))
        yield UnitTotals(connection)
    engine.dispose()
