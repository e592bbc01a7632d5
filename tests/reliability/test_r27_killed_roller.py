"""R27: rolling that is killed at every step, on both databases and with both kinds of place: each outcome is
stored once, what expired is gone, and the folder has the files that the database knows."""

import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from records.store import Store, tables
from tests.records.stored import stored
from tests.reliability.roller import BEFORE, OF_STORE, PAIRED, STEPS, outcomes_of
from tests.servers.postgres import Postgres

SQLITE = "sqlite:///canary.db"


def roll(url: str, data: Path, outcomes: str, *, kills: int, seed: int) -> None:
    """Have it rolled so; then compare what is there with what was shipped."""
    Store.open(url, data).close()
    command = [
        sys.executable,
        "-m",
        "tests.reliability.roller",
        str(data),
        url,
        outcomes,
        str(kills),
        str(seed),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr
    killed = Counter[str](json.loads(ran.stdout))
    with closing(Store.open(url, data, outcomes=outcomes)) as store:
        found = Counter(row["exchange_id"] for row in stored(store))
        with store.asking() as connection:
            segments = connection.execute(select(tables.segments.c.path, tables.segments.c.state)).all()
    top = data / outcomes
    files = {str(each.relative_to(top)) for each in top.rglob("*") if each.is_file()}
    shipped = [each for life in range(kills) for each in outcomes_of(life)]
    left = {each.exchange_id for each in shipped if each.at >= BEFORE}
    print(
        f"\nR27: {len(shipped)} outcomes, rolling killed {killed.total()} times ({dict(killed)}): "
        f"{len(found)} stored once each, {len(shipped) - len(left)} expired, {len(files)} files"
    )
    assert {*found} == left
    assert {*found.values()} == {1}
    assert {state for _, state in segments} == {"whole"}
    assert files == ({path for path, _ in segments} if outcomes != "store" else set())
    assert all(killed[step] for step in (OF_STORE if outcomes == "store" else STEPS))
    assert killed.total() >= kills - kills // PAIRED


def test_rolling_killed_at_every_step_stores_each_outcome_once(tmp_path: Path) -> None:
    roll(SQLITE, tmp_path, "outcomes", kills=16, seed=20261127)


@pytest.mark.more
def test_the_same_with_postgresql_and_segments_in_it(tmp_path: Path, postgres: Postgres) -> None:
    roll(postgres.fresh(), tmp_path, "store", kills=6, seed=20261127)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_fifty_killed_rollers(tmp_path: Path, seed: int) -> None:
    roll(SQLITE, tmp_path, "outcomes", kills=50, seed=seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("outcomes", ["outcomes", "store"])
def test_fifty_killed_rollers_with_postgresql(tmp_path: Path, postgres: Postgres, outcomes: str) -> None:
    roll(postgres.fresh(), tmp_path, outcomes, kills=50, seed=3)
