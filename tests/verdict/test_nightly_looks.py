"""The nightly looks: once after each midnight, by the one whose part it is, and again after a failure."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from canary.config import Config, parse
from control.states.rollouts import Rollouts
from records.errors import StoreDown
from records.store import Act, Store, VersionedState, tables
from routing import transitions
from tests.effort import in_more
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.shipping import Shipper
from verdict.archive import archivist
from verdict.archive.archivist import RETRY_S, NightlyLooks
from verdict.terms.plan import ARRIVAL_S, DAY_S

TEXT = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: c
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5}
    share: 50%
    rubric:
      - {metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}
      - {metric: csat, acceptable: "> 4", ideal: "> 4.5", weight: 1, question: "Happy?"}
"""
CONFIG = parse(TEXT, "canary.yaml", {})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in which `c` runs since START, with three days of traffic, which begins after the midnight: day
    1 is over at the second."""
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        Rollouts(opened, lambda plan: None).reconcile(CONFIG.control, START)
        Shipper(opened).lines(exchanges(World(users=500, share=0.5, days=2.9)))
        yield opened


def _nightly(store: Store, config: Config = CONFIG) -> NightlyLooks:
    return NightlyLooks(store, lambda: config.control.reports)


def _days(store: Store) -> list[tuple[str, int]]:
    table = tables.looks.c
    with store.asking() as connection:
        rows = connection.execute(select(table.metric, table.day).order_by(table.metric, table.day)).all()
    return [(row.metric, row.day) for row in rows]


def _both(*days: int) -> list[tuple[str, int]]:
    return [(metric, day) for metric in ("csat", "error_rate") for day in days]


def test_the_looks_of_a_day_are_stored_once_their_records_have_come(store: Store) -> None:
    nightly = _nightly(store)
    assert not nightly.turn(START + 0.9 * DAY_S)
    second = START + 3 * DAY_S
    assert nightly.turn(second + ARRIVAL_S - 1)
    assert _days(store) == _both(1)
    assert not nightly.turn(second + ARRIVAL_S - 1)
    assert nightly.turn(second + ARRIVAL_S)
    assert _days(store) == _both(1, 2)
    assert not nightly.turn(second + 0.9 * DAY_S)


def test_a_restart_takes_no_look_twice(store: Store) -> None:
    now = START + 3.5 * DAY_S
    with capture_logs() as logs:
        assert _nightly(store).turn(now)
        assert _nightly(store).turn(now)
    assert [(each["event"], each["count"]) for each in logs] == [("looks.taken", 4), ("looks.taken", 0)]
    assert _days(store) == _both(1, 2)


def test_nights_that_were_missed_are_made_up_for(store: Store) -> None:
    assert _nightly(store).turn(START + 4.5 * DAY_S)
    assert _days(store) == _both(1, 2, 3)


def test_a_run_that_is_over_gets_no_look(store: Store) -> None:
    act = Act(at=START + 1.4 * DAY_S, action="rollback", who="jane", reason="r")
    rollouts = Rollouts(store, lambda plan: None)
    rollouts.change("c", act, lambda state: transitions.rollback(state, reason="r", now=act.at))
    rollouts.settle()
    assert not _nightly(store).turn(START + 3.5 * DAY_S)
    assert _days(store) == []


def test_a_canary_without_a_plan_needs_no_look(store: Store) -> None:
    without = parse(TEXT.replace("share: 50%", "share: 50%\n    minimum_days: 0"), "canary.yaml", {})
    assert not _nightly(store, without).turn(START + 3.5 * DAY_S)


class _FailingOnce:
    """A store that does not answer one question for a report."""

    def __init__(self, store: Store) -> None:
        self._store, self._failed = store, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def reading(self) -> object:
        if not self._failed:
            self._failed = True
            raise StoreDown("away")
        return self._store.reading()


def test_what_fails_is_logged_and_tried_again_later(store: Store) -> None:
    nightly = NightlyLooks(_FailingOnce(store), lambda: CONFIG.control.reports)  # type: ignore[arg-type]
    now = START + 3.5 * DAY_S
    with capture_logs() as logs:
        assert nightly.turn(now)
        assert not nightly.turn(now + RETRY_S - 1)
        assert nightly.turn(now + RETRY_S)
    assert [each["event"] for each in logs] == ["looks.not_taken", "looks.taken"]
    assert _days(store) == _both(1, 2)


class _Down:
    """A store that answers nothing."""

    def states(self) -> dict[str, VersionedState]:
        raise StoreDown("away")


def test_a_store_that_is_down_is_asked_again() -> None:
    nightly = NightlyLooks(_Down(), lambda: CONFIG.control.reports)  # type: ignore[arg-type]
    with capture_logs() as logs:
        assert not nightly.turn(START)
    assert [each["event"] for each in logs] == ["looks.not_taken"]


def test_only_the_one_whose_part_it_is_takes_looks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archivist, "EVERY_S", 0.0)
    asked = asyncio.Event()

    def works() -> bool:
        asked.set()
        return False

    async def until_asked() -> None:
        running = asyncio.create_task(NightlyLooks(store, lambda: CONFIG.control.reports, works).run())
        await asked.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(until_asked())
    assert _days(store) == []


@pytest.mark.parametrize("program", ["controller", in_more("worker"), in_more("agent")])
def test_no_program_imports_the_statistics_before_they_are_needed(program: str) -> None:
    """They take two seconds and 60 MB in each process."""
    code = f"import sys, canary.programs.{program}; print('scipy' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]
