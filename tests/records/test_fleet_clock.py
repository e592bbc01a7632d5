"""Records are dated by Redis's clock, whatever the machine's says, and whenever it is set."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from records.errors import SharedDown
from records.outcome import Feedback, Outcome
from records.shared.fleet_clock import FleetClock
from records.shared.states_channel import connect
from tests.servers.redis import RedisServer


@dataclass
class Machine:
    """The two clocks of a machine: `utc` can be set, `mono` cannot."""

    utc: float = 1_800_000_000.0
    mono: float = 500.0

    def passes(self, seconds: float) -> None:
        self.utc += seconds
        self.mono += seconds

    def outcome(self) -> Outcome:
        return Outcome(exchange_id="x", at=self.utc, mono=self.mono, outcome="ok")


def clock_of(machine: Machine) -> FleetClock:
    return FleetClock(connect("redis://127.0.0.1:1"), mono=lambda: machine.mono, utc=lambda: machine.utc)


REDIS_AHEAD_S = 45.0


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def clock(machine: Machine) -> FleetClock:
    """Redis has told the time once."""
    clock = clock_of(machine)
    clock.hear(machine.utc + REDIS_AHEAD_S, machine.mono, machine.mono)
    return clock


def test_a_slow_machines_records_have_redis_date(machine: Machine, clock: FleetClock) -> None:
    machine.passes(10.0)
    (dated,) = clock.dated([machine.outcome()])
    assert isinstance(dated, Outcome)
    assert dated.at == pytest.approx(machine.utc + REDIS_AHEAD_S)
    assert clock.now() == pytest.approx(machine.utc + REDIS_AHEAD_S)
    assert clock.offset_s == pytest.approx(-REDIS_AHEAD_S)
    assert (
        clock.trouble
        == "this machine's clock is 45 s slow by Redis's clock, which dates its records: set it (NTP)"
    )


def test_a_clock_that_is_set_between_two_records_dates_both_alike(
    machine: Machine, clock: FleetClock
) -> None:
    before = machine.outcome()
    machine.utc += 3600.0
    after = machine.outcome()
    first, second = clock.dated([before, after])
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    assert first.at == pytest.approx(second.at)


def test_a_date_that_is_right_to_a_second_stays_as_it_was_written(machine: Machine) -> None:
    clock = clock_of(machine)
    clock.hear(machine.utc + 0.4, machine.mono, machine.mono)
    written = machine.outcome()
    assert clock.dated([written]) == [written]
    assert clock.trouble is None


def test_a_small_difference_between_two_measurements_changes_no_date(
    machine: Machine, clock: FleetClock
) -> None:
    before = clock.dated([machine.outcome()])
    clock.hear(machine.utc + REDIS_AHEAD_S + 0.2, machine.mono, machine.mono)
    assert clock.dated([machine.outcome()]) == before
    clock.hear(machine.utc + REDIS_AHEAD_S + 7.0, machine.mono, machine.mono + 0.5)  # too slow to tell
    assert clock.dated([machine.outcome()]) == before
    clock.hear(machine.utc + REDIS_AHEAD_S + 7.0, machine.mono, machine.mono)
    assert clock.now() == pytest.approx(machine.utc + REDIS_AHEAD_S + 7.0)


def test_what_a_sender_dates_keeps_its_date(machine: Machine, clock: FleetClock) -> None:
    yesterday, taken = machine.utc - 86_400.0, machine.utc
    value = Feedback(key="k", metric="csat", value=4.0, at=yesterday, mono=machine.mono, posted_at=taken)
    (dated,) = clock.dated([value])
    assert isinstance(dated, Feedback)
    assert (dated.at, dated.taken_at) == (yesterday, pytest.approx(taken + REDIS_AHEAD_S))


def test_before_redis_has_answered_the_machines_own_clock_counts(machine: Machine) -> None:
    clock = clock_of(machine)
    with pytest.raises(SharedDown):
        asyncio.run(clock.ask())
    written = machine.outcome()
    assert (clock.dated([written]), clock.now(), clock.offset_s) == ([written], machine.utc, None)
    assert clock.trouble is None


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with closing(RedisServer()) as server:
        yield server


def test_a_real_redis_is_asked(redis: RedisServer) -> None:
    async def ask() -> FleetClock:
        async with connect(redis.url) as connection:
            slow = FleetClock(connection, utc=lambda: time.time() - REDIS_AHEAD_S)
            await slow.ask()
            return slow

    slow = asyncio.run(ask())
    assert slow.offset_s == pytest.approx(-REDIS_AHEAD_S, abs=1.0)
