"""The plan file and its watch."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from records.shared import states_file
from records.shared.states_file import StatesWatch
from routing.states import NO_STATES, State, States

MINUTE = 60.0


def a_plan(version: int, *, share: float = 0.05, refreshed_at: float = 1000.0) -> States:
    state = State(state="running", share=share, run=1, phase=2, started_at=5.0)
    return States(version=version, states={"support-nov": state}, refreshed_at=refreshed_at)


def share_of(plan: States) -> float:
    return plan.states["support-nov"].effective_share


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def test_without_a_file_there_is_no_plan(path: Path) -> None:
    assert StatesWatch(path).poll(1000.0, 1.0) == NO_STATES


def test_a_written_plan_comes_back_equal(path: Path) -> None:
    states_file.write(path, a_plan(3))
    assert StatesWatch(path).poll(1000.0, 1.0) == a_plan(3)
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["plan.json"]


def test_a_higher_version_is_seen_at_the_next_poll(path: Path) -> None:
    watch = StatesWatch(path)
    for version in range(1, 50):
        states_file.write(path, a_plan(version))
        assert watch.poll(1000.0, 1.0).version == version


def test_looking_at_the_plan_writes_nothing_to_the_disk(path: Path) -> None:
    states_file.write(path, a_plan(1))
    os.utime(path, ns=(1, path.stat().st_mtime_ns))
    assert StatesWatch(path).poll(1000.0, 1.0).version == 1
    assert path.stat().st_atime_ns == 1


def test_an_older_version_is_ignored_and_refreshes_nothing(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 0.0)
    states_file.write(path, a_plan(4, share=0.5, refreshed_at=1800.0))
    assert watch.poll(1800.0, 14 * MINUTE) == a_plan(5)
    assert share_of(watch.poll(1900.0, 15 * MINUTE)) == 0.0


@pytest.mark.parametrize("text", [b"", b"{", b'{"version": "x"}', b"\xff\xfe", b"null"])
def test_a_torn_file_is_ignored(path: Path, text: bytes) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 1.0)
    path.write_bytes(text)
    assert watch.poll(1000.0, 2.0) == a_plan(5)
    states_file.write(path, a_plan(6))
    assert watch.poll(1000.0, 3.0) == a_plan(6)


def test_every_cut_of_a_plan_is_torn(path: Path) -> None:
    states_file.write(path, a_plan(5))
    whole = path.read_bytes().rstrip()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert StatesWatch(path).poll(1000.0, 1.0) == NO_STATES


def test_a_plan_that_nobody_refreshes_falls_to_share_zero(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 0.0)
    assert share_of(watch.poll(1000.0, 15 * MINUTE - 1)) == 0.05
    stale = watch.poll(1000.0, 15 * MINUTE)
    assert share_of(stale) == 0.0
    assert (stale.version, stale.states["support-nov"].state) == (5, "running")
    assert not stale.states["support-nov"].recallable


def test_a_deleted_plan_ages_too(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 0.0)
    path.unlink()
    assert share_of(watch.poll(1000.0, 14 * MINUTE)) == 0.05
    assert share_of(watch.poll(1000.0, 16 * MINUTE)) == 0.0


def test_a_refresh_of_the_same_version_keeps_it_alive_and_brings_it_back(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 0.0)
    states_file.write(path, a_plan(5, refreshed_at=1001.0))
    watch.poll(1001.0, 10 * MINUTE)
    assert share_of(watch.poll(1001.0, 24 * MINUTE)) == 0.05
    assert share_of(watch.poll(1001.0, 25 * MINUTE)) == 0.0
    states_file.write(path, a_plan(5, refreshed_at=1002.0))
    assert share_of(watch.poll(1002.0, 26 * MINUTE)) == 0.05


def test_touching_the_file_is_no_refresh(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 0.0)
    os.utime(path, (5e9, 5e9))
    watch.poll(1000.0, 14 * MINUTE)
    assert share_of(watch.poll(1000.0, 15 * MINUTE)) == 0.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_stepped_clock_changes_nothing_while_somebody_refreshes(path: Path, step: float) -> None:
    watch = StatesWatch(path)
    for second in range(0, 1800, 5):
        utc = 10_000.0 + second + (step if second > 600 else 0.0)
        states_file.write(path, a_plan(5, refreshed_at=utc))
        assert share_of(watch.poll(utc, float(second))) == 0.05


def test_a_clock_stepped_ahead_does_not_make_a_dead_plan_live(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 0.0)
    assert share_of(watch.poll(1000.0 - 3600, 15 * MINUTE)) == 0.0


def test_a_plan_found_at_start_is_as_old_as_its_utc_says(path: Path) -> None:
    states_file.write(path, a_plan(5, refreshed_at=1000.0))
    assert share_of(StatesWatch(path).poll(1000.0 + 16 * MINUTE, 7.0)) == 0.0
    young = StatesWatch(path)
    assert share_of(young.poll(1000.0 + 10 * MINUTE, 7.0)) == 0.05
    assert share_of(young.poll(1000.0 + 15 * MINUTE, 7.0 + 5 * MINUTE)) == 0.0


def test_a_plan_from_the_future_is_as_good_as_a_fresh_one(path: Path) -> None:
    states_file.write(path, a_plan(5, refreshed_at=9000.0))
    watch = StatesWatch(path)
    assert share_of(watch.poll(1000.0, 7.0)) == 0.05
    assert share_of(watch.poll(1000.0, 7.0 + 15 * MINUTE)) == 0.0


def test_a_changed_patience_is_seen_without_a_new_version(path: Path) -> None:
    watch = StatesWatch(path)
    states_file.write(path, a_plan(5))
    watch.poll(1000.0, 1.0)
    changed = replace(a_plan(5, refreshed_at=1005.0), patience={"support-nov": {"chat/json": 12.0}})
    states_file.write(path, changed)
    assert watch.poll(1005.0, 6.0) == changed


def test_a_plan_of_the_version_before_has_no_patience(path: Path) -> None:
    path.write_bytes(b'{"version": 3, "states": {}, "refreshed_at": 1000.0}')
    assert StatesWatch(path).poll(1000.0, 1.0).patience == {}
