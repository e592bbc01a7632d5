"""Who is in the middle of something: the controller's memory, and what it publishes of it."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec import structs

from canary.config import parse
from control.feed.events import WorkerEvents, WorkerRegistry
from control.states.activity import LINGER_S, ActivityTable, LastSeen, UnitActivity
from control.states.rollouts import Rollouts
from records.outcome import Heartbeat, InFlight, Outcome
from records.shared.held_units import HeldUnits, count, number_of
from records.store import Act, Store
from routing import transitions
from routing.cohort import SPACE
from routing.states import State
from tests.records.samples import a_batch, an_outcome
from tests.reliability.askers import until

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}
canaries:
  - name: agents
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: old}
    candidate: {provider: openai, model: new}
    share: 10%
    settle: 30m
"""
SETTINGS = parse(CONFIG, "canary.yaml", {}).control
WORKER = ("", 0, 1)


def unit(number: int) -> str:
    return f"{number:016x}".ljust(32, "0")


@dataclass
class Admin:
    """The memory over a real store, with one worker, without loops."""

    store: Store
    published: list[HeldUnits] = field(default_factory=list)
    later_s: float = 0.0
    publishing_takes_s: float = 0.0

    def __post_init__(self) -> None:
        self.workers = WorkerRegistry()
        self.rollouts = Rollouts(self.store, lambda states: None, canary=SETTINGS.canary)
        self.rollouts.reconcile(SETTINGS, time.time())
        self.memory = UnitActivity(
            self.store, self.rollouts, self.workers, self, settings=lambda: SETTINGS, works=lambda: True,
            mono=lambda: time.monotonic() + self.later_s,
        )  # fmt: skip

    def put_held(self, units: HeldUnits) -> None:
        self.published.append(units)
        self.later_s += self.publishing_takes_s

    async def held(self, newer_than: float) -> HeldUnits | None:
        return None

    def hear(self, number: int, place: float, *, phase: int = 1, ago_s: float = 0.0) -> None:
        """One exchange of a unit of the baseline."""
        at = time.time() - ago_s
        ended = Outcome(
            exchange_id=f"x{number}", at=at, mono=0.0, outcome="ok", canary="agents", phase=phase,
            reason="cohort", unit=unit(number), place=int(place * SPACE),
        )  # fmt: skip
        self.memory.take(WorkerEvents(records=[ended]))

    def hear_in_flight(self, number: int, place: float, *, ago_s: float) -> None:
        at = time.time() - ago_s
        running = InFlight(
            exchange_id=f"x{number}", at=at, mono=0.0, canary="agents", run=1, phase=1, share=0.1,
            arm="baseline", reason="cohort", unit=unit(number), operation="chat", stream=True,
            place=int(place * SPACE),
        )  # fmt: skip
        self.memory.take(WorkerEvents(in_flight=[(WORKER, running)]))

    def follow(self) -> None:
        """The worker says that it follows the newest states."""
        beat = Heartbeat(
            worker=0, pid=1, at=time.time(), mono=time.monotonic(), started=0, finished=0, dropped=0,
            lag_s=0.0, plan_version=self.rollouts.in_force.version,
        )  # fmt: skip
        self.workers.take(WorkerEvents(beats=[(WORKER, beat)]))

    def set_share(self, share: float) -> State:
        steps, now = SETTINGS.canaries["agents"].canary.steps, time.time()
        self.rollouts.change(
            "agents",
            Act(at=now, action="ramp", who="ann", reason=""),
            lambda state: transitions.set_share(state, steps, share, now=now),
        )
        return self.rollouts.states["agents"].state

    def look(self) -> list[int]:
        """The numbers of the units that are held, as published last."""
        asyncio.run(self.memory.look())
        sets = self.published[-1].sets["agents"] if self.published else {}
        known = [number for number in range(20) if any(_in(kept, number) for kept in sets.values())]
        assert len(known) == sum(map(count, sets.values()))
        return known


def _in(kept: bytes, number: int) -> bool:
    return number_of(unit(number)).to_bytes(8, "little") in [
        kept[at : at + 8] for at in range(0, len(kept), 8)
    ]


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    store = Store.open("sqlite:///canary.db", tmp_path)
    yield Admin(store)
    store.close()


def test_the_units_of_a_change_are_those_that_were_active_at_its_places(admin: Admin) -> None:
    admin.hear(1, 0.2)
    admin.hear(2, 0.2, ago_s=1_700.0)
    admin.hear(3, 0.2, ago_s=1_900.0)
    admin.hear(4, 0.6)
    admin.hear_in_flight(5, 0.3, ago_s=3_000.0)
    admin.set_share(0.5)
    admin.follow()
    assert admin.look() == [1, 2, 5]
    status = admin.memory.document("agents")
    assert status is not None and status["units"] == 3
    admin.hear(6, 0.2, phase=1)  # began just before, heard of just now
    admin.hear(1, 0.2, phase=2)  # has moved, by whatever reason: it does not come back
    assert admin.look() == [2, 5, 6]


def test_nothing_is_published_until_all_workers_follow_and_then_an_empty_hold_ends(admin: Admin) -> None:
    admin.follow()
    admin.set_share(0.5)
    asyncio.run(admin.memory.look())
    assert [units.sets for units in admin.published] == []
    admin.follow()
    assert admin.look() == []
    admin.hear(1, 0.2)
    assert admin.look() == [1]
    admin.hear(1, 0.2, phase=2)
    assert admin.look() == []
    admin.later_s = LINGER_S
    assert admin.look() == []
    assert admin.rollouts.states["agents"].state.holds == ()
    assert admin.rollouts.states["agents"].state.phase == 2


@pytest.mark.anyio
async def test_a_slow_look_delays_no_change_that_comes_after_it(admin: Admin) -> None:
    admin.publishing_takes_s = 100.0
    async with asyncio.TaskGroup() as tasks:
        looks = tasks.create_task(admin.memory.run())
        for phase, share in enumerate((0.5, 0.8), start=1):
            admin.hear(phase, share - 0.1, phase=phase)
            admin.set_share(share)
            admin.follow()
            await until(
                lambda changed=phase: any(units.knows("agents", changed) for units in admin.published)
            )
        looks.cancel()


def test_a_second_change_keeps_who_the_first_one_holds(admin: Admin) -> None:
    admin.hear(1, 0.2)
    admin.set_share(0.5)
    admin.follow()
    assert admin.look() == [1]
    admin.hear(2, 0.7, phase=2)
    admin.set_share(0.8)
    admin.follow()
    assert admin.look() == [1, 2]
    assert {phase: count(kept) for phase, kept in admin.published[-1].sets["agents"].items()} == {1: 1, 2: 1}


def test_the_table_forgets_nobody_who_is_active_and_grows_by_the_active_alone() -> None:
    draw, table, known = random.Random(1), ActivityTable(), dict[int, int]()
    for step in range(60_000):
        number = draw.getrandbits(13) << 51 | draw.getrandbits(5)
        known[number] = 1_000 + step // 100
        place = number % SPACE
        table.add(LastSeen(number, place, 1, "baseline", known[number]), oldest=known[number] - 100)
    rows = [row for shard in table._shards for row in shard.since(1_500)]
    assert sorted((number, at) for number, _, _, at in rows) == sorted(
        (number, at) for number, at in known.items() if at >= 1_500
    )
    assert all(place == number % SPACE for number, place, _, _ in rows)
    assert len(table) < 2.5 * len(rows)


def test_a_canary_that_starts_keeps_who_asked_for_its_models_before(tmp_path: Path) -> None:
    store = Store.open("sqlite:///canary.db", tmp_path)
    at = time.time() - 60.0
    store.ship(
        a_batch(
            *(
                structs.replace(
                    an_outcome(number, at=at),
                    canary=canary,
                    unit=unit(number),
                    provider="openai",
                    model_requested=model,
                )
                for number, canary, model in (
                    (1, "", "gpt-4o"),
                    (2, "the-trial-before", "gpt-4o"),
                    (3, "", "another"),
                    (4, "agents", "gpt-4o"),
                )
            )
        )
    )
    admin = Admin(store)
    assert [hold.before.phase for hold in admin.rollouts.states["agents"].state.holds] == [0]
    admin.follow()
    assert admin.look() == [1, 2]
    admin.hear(1, 0.05, phase=0)
    asyncio.run(admin.memory.look())
    status = admin.memory.document("agents")
    assert status is not None and status["units"] == 1  # the candidate's to come; of the other one a tenth
    store.close()
