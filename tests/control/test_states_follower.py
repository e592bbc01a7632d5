"""What makes a plan news, and that a machine cut off from every admin falls to share 0. On a hand clock."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.whole_file import read_document
from control.fleet.publisher import WRITE_EVERY_S, StatesFollower
from records.shared.states_file import StatesWatch
from routing.states import NO_STATES, State, States

MINUTE = 60.0


def a_plan(version: int, *, share: float = 0.05, refreshed_at: float = 1000.0) -> States:
    state = State(state="running", share=share, started_at=5.0)
    return States(version=version, states={"trial": state}, refreshed_at=refreshed_at)


def share_of(plan: States) -> float:
    return plan.states["trial"].effective_share


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def test_without_any_news_there_is_no_plan(path: Path) -> None:
    following = StatesFollower(path)
    assert not following.hear(None, 0.0)
    assert following.newest == NO_STATES
    assert not path.exists()


def test_a_changed_plan_is_written_at_once(path: Path) -> None:
    following = StatesFollower(path)
    for version in range(1, 20):
        assert following.hear(a_plan(version), 0.0)
        assert read_document(path, States) == a_plan(version)


def test_an_older_plan_and_the_same_one_again_are_no_news(path: Path) -> None:
    following = StatesFollower(path)
    following.hear(a_plan(5), 0.0)
    assert not following.hear(a_plan(5), 1.0)
    assert not following.hear(a_plan(4, share=0.9, refreshed_at=2000.0), 1.0)
    assert read_document(path, States) == a_plan(5)
    assert following.silent_s(7.0) == 7.0


def test_an_older_plan_is_no_news_to_a_replica_that_was_restarted(path: Path) -> None:
    StatesFollower(path).hear(a_plan(5), 0.0)
    again = StatesFollower(path)
    assert again.newest == a_plan(5)
    assert not again.hear(a_plan(4, share=0.9, refreshed_at=2000.0), 1.0)
    assert read_document(path, States) == a_plan(5)


def test_a_sign_of_life_is_written_every_few_seconds(path: Path) -> None:
    following = StatesFollower(path)
    following.hear(a_plan(5), 0.0)
    assert following.hear(a_plan(5, refreshed_at=1001.0), 1.0)
    assert read_document(path, States) == a_plan(5)
    refreshed = a_plan(5, refreshed_at=1000.0 + WRITE_EVERY_S)
    assert following.hear(refreshed, WRITE_EVERY_S)
    assert read_document(path, States) == refreshed


def test_a_replica_cut_off_from_everybody_falls_to_share_0_after_15_minutes(path: Path) -> None:
    following, worker = StatesFollower(path), StatesWatch(path)
    for second in range(60):
        following.hear(a_plan(5, refreshed_at=1000.0 + second), float(second))
        worker.poll(1000.0 + second, float(second))
    cut_off = 59.0
    stale = 0.0
    for second in range(60, 20 * 60):
        following.hear(None, float(second))  # neither Redis nor the store
        if share_of(worker.poll(1000.0 + second, float(second))) == 0.0:
            stale = float(second)
            break
    assert 15 * MINUTE - WRITE_EVERY_S <= stale - cut_off <= 15 * MINUTE


def test_without_admins_the_last_plan_in_redis_or_store_keeps_nobody_fresh(path: Path) -> None:
    following, worker = StatesFollower(path), StatesWatch(path)
    following.hear(a_plan(5), 0.0)
    worker.poll(1000.0, 0.0)
    for second in range(1, 16 * 60):
        following.hear(a_plan(5), float(second))  # it still stands there, and nobody refreshes it
        worker.poll(1000.0 + second, float(second))
    assert share_of(worker.poll(1960.0, 16 * MINUTE)) == 0.0
    following.hear(a_plan(5, refreshed_at=1961.0), 16 * MINUTE + 1)  # an admin is back
    assert share_of(worker.poll(1961.0, 16 * MINUTE + 1)) == 0.05


def test_a_plan_that_the_disk_did_not_take_is_written_with_the_next_news(tmp_path: Path) -> None:
    folder = tmp_path / "not-there-yet"
    following = StatesFollower(folder / "plan.json")
    assert following.hear(a_plan(5), 0.0)
    folder.mkdir()
    assert following.hear(a_plan(5, refreshed_at=1001.0), 1.0)
    assert read_document(folder / "plan.json", States) == a_plan(5, refreshed_at=1001.0)


def test_a_changed_patience_is_news(path: Path) -> None:
    following = StatesFollower(path)
    following.hear(a_plan(5), 0.0)
    changed = replace(a_plan(5, refreshed_at=1005.0), patience={"trial": {"chat/json": 12.0}})
    assert following.hear(changed, WRITE_EVERY_S)
    assert read_document(path, States) == changed
