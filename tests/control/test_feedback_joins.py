"""Feedback about sessions and units gets the arm of their last exchange, over a real store."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from control.feed import joins
from control.feed.events import WorkerEvents
from control.feed.joins import FeedbackJoins
from records.outcome import Feedback, Outcome
from records.store import Act, Store
from routing.states import State
from tests.records.samples import a_batch

NOW = time.time()


def an_exchange(serial: int, **changed: Any) -> Outcome:
    fields: dict[str, Any] = {"outcome": "ok", "canary": "trial", "run": 1, "phase": 1, "reason": "cohort"}
    fields |= {"at": NOW + serial, "mono": 1.0, "unit": "ann", "session": "talk", "arm": "candidate"}
    return Outcome(exchange_id=f"x{serial}", **(fields | changed))


def said(at: float = NOW + 100, **about: str) -> Feedback:
    return Feedback(key="k", metric="csat", value=4.0, at=at, mono=1.0, **about)


def arms(records: Any) -> list[tuple[str, str | None, str]]:
    return [(each.canary, each.arm, each.unit) for each in records if isinstance(each, Feedback)]


def look(found: FeedbackJoins) -> list[tuple[str, str | None, str]]:
    return arms(asyncio.run(found.look()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        act = Act(at=NOW, action="start", who="t", reason="")
        assert store.swap("trial", 0, State(state="running", share=0.5, run=1, phase=3), act)
        yield store


@pytest.mark.parametrize("about", [{"session": "talk"}, {"unit": "ann"}])
def test_the_last_exchange_in_memory_gives_the_arm_at_once(store: Store, about: dict[str, str]) -> None:
    found = FeedbackJoins(store)
    found.join(WorkerEvents(records=[an_exchange(1, arm="baseline"), an_exchange(2)]))
    found.join(WorkerEvents(records=[an_exchange(0, arm="baseline")]))  # ended later, began earlier
    assert arms(found.join(WorkerEvents(records=[said(**about)])).records) == [("trial", "candidate", "ann")]
    assert look(found) == []


@pytest.mark.parametrize("about", [{"session": "talk"}, {"unit": "ann"}])
@pytest.mark.parametrize("shared", [False, True])
def test_an_exchange_that_memory_does_not_hold_is_found_in_the_store(
    store: Store, about: dict[str, str], shared: bool
) -> None:
    old = an_exchange(1, arm="baseline", phase=1)
    store.ship(a_batch(old, an_exchange(2, phase=3), an_exchange(3, unit="bob", session="other")))
    found = FeedbackJoins(store, shared=shared)
    assert arms(found.join(WorkerEvents(records=[said(**about)])).records) == []
    (joined,) = asyncio.run(found.look())
    assert arms([joined]) == [("trial", "candidate", "ann")]
    assert (joined.run, joined.phase, joined.value) == (1, 3, 4.0)


MOVED = [an_exchange(10, arm="baseline", phase=1), an_exchange(20, phase=2), an_exchange(30, phase=2)]
AT = [(NOW + 5, []), (NOW + 10, ["baseline"]), (NOW + 19, ["baseline"]), (NOW + 25, ["candidate"])]


@pytest.mark.parametrize("about", [{"session": "talk"}, {"unit": "ann"}])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("remembered", [False, True])
def test_a_value_of_an_earlier_moment_gets_the_arm_of_then(
    store: Store, about: dict[str, str], shared: bool, remembered: bool
) -> None:
    store.ship(a_batch(*MOVED[:2]))
    store.ship(a_batch(MOVED[2]))
    found = FeedbackJoins(store, shared=shared)
    if remembered:
        found.join(WorkerEvents(records=[MOVED[1], MOVED[0], MOVED[2]]))
    for at, then in AT:
        at_once = found.join(WorkerEvents(records=[said(at, **about)])).feedback
        # The first exchange that is remembered came after the second began.
        assert len(at_once) == (remembered and not shared and at == NOW + 25)
        told = [*at_once, *asyncio.run(found.look())]
        assert [each.arm for each in told if isinstance(each, Feedback)] == then
        found.restore({}, new_boot=None)


def test_where_replicas_share_a_store_the_newer_of_memory_and_store_counts(store: Store) -> None:
    store.ship(a_batch(an_exchange(5, arm="candidate", phase=2)))
    found = FeedbackJoins(store, shared=True)
    found.join(WorkerEvents(records=[an_exchange(1, arm="baseline"), an_exchange(1, unit="bob")]))
    found.join(WorkerEvents(records=[said(unit="ann"), said(unit="bob")]))
    assert look(found) == [("trial", "candidate", "ann"), ("trial", "candidate", "bob")]


def test_a_value_that_comes_before_its_exchange_waits_for_it(store: Store) -> None:
    found = FeedbackJoins(store)
    found.join(WorkerEvents(records=[said(unit="ann")]))
    assert look(found) == []
    found.join(WorkerEvents(records=[an_exchange(1)]))
    assert look(found) == [("trial", "candidate", "ann")]


def test_a_value_of_nobody_is_given_up_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "WAIT_S", 0.0)
    found = FeedbackJoins(store)
    found.join(WorkerEvents(records=[an_exchange(1, reason="no_unit"), an_exchange(2, mirror=True)]))
    assert arms(found.join(WorkerEvents(records=[said(unit="ann")])).records) == []
    assert look(found) == [("", None, "ann")]
    assert look(found) == []


def test_values_that_wait_outlive_a_restart(store: Store) -> None:
    found = FeedbackJoins(store)
    found.join(WorkerEvents(records=[said(session="talk")]))
    document = msgspec.json.decode(msgspec.json.encode(found.snapshot()))
    again = FeedbackJoins(store)
    again.restore(document, new_boot=None)
    store.ship(a_batch(an_exchange(1)))
    assert look(again) == [("trial", "candidate", "ann")]


def test_more_than_can_wait_is_passed_on_without_an_arm(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joins, "MOST_WAITING", 2)
    found = FeedbackJoins(store)
    found.join(WorkerEvents(records=[said(unit=f"u{n}") for n in range(5)]))
    assert look(found) == [("", None, "u0"), ("", None, "u1"), ("", None, "u2")]


def test_feedback_by_exchange_is_left_alone(store: Store) -> None:
    value = replace(said(exchange_id="x1"), canary="trial", arm="baseline")
    events = WorkerEvents(records=[value])
    assert FeedbackJoins(store).join(events) is events


def strangers(found: FeedbackJoins, *values: Feedback) -> list[str]:
    """The units of the values that waited in vain and whose id no exchange had."""
    found.join(WorkerEvents(records=list(values)))
    told = [each for each in asyncio.run(found.look()) if isinstance(each, Feedback)]
    return [each.unit for each in told if found.is_stranger(each)]


def test_a_value_of_an_exchange_outside_a_trial_and_a_late_one_are_no_strangers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joins, "WAIT_S", 0.0)
    found = FeedbackJoins(store)
    found.join(WorkerEvents(records=[an_exchange(1, canary="", run=0, reason="standing")]))
    assert strangers(found, said(unit="ann"), said(unit="nobody")) == ["nobody"]
    found.restore({}, new_boot=None)  # what was there before the restart is not known any more
    assert strangers(found, said(unit="bob")) == []
    assert strangers(found, said(NOW + 90_000, unit="bob")) == ["bob"]
    assert strangers(FeedbackJoins(store, shared=True), said(unit="nobody")) == []
