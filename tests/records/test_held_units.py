"""The file beside the states that says which units keep an earlier one."""

from pathlib import Path

from records.shared import held_units
from records.shared.held_units import HeldUnits, packed
from records.shared.states_file import StatesWatch, write
from routing.holds import WHOLE
from routing.states import STALE_AFTER_S, Hold, State, States

ANN, BOB = "0" * 15 + "1" + "a" * 16, "f" * 16 + "b" * 16
HELD = HeldUnits(at=5.0, sets={"agents": {1: packed([int(ANN[:16], 16), 7])}})


def states(version: int) -> States:
    hold = Hold(span=WHOLE, before=State(state="running", share=0.1, phase=1), share=0.5, until=99.0)
    return States(
        version=version, states={"agents": State(state="running", share=0.5, phase=2, holds=(hold,))}
    )


def test_of_a_hold_that_is_known_its_units_are_kept_and_of_another_everybody() -> None:
    assert [HELD.keeps("agents", 1, each) for each in (ANN, BOB)] == [True, False]
    assert HELD.keeps("agents", 2, BOB) and HELD.keeps("another", 1, BOB)


def test_a_worker_that_has_only_one_of_both_files_moves_nobody(tmp_path: Path) -> None:
    watch = StatesWatch(tmp_path / "plan.json")
    held_units.write(tmp_path / "plan.held", HeldUnits(at=4.0, sets={"agents": {0: b""}}))
    write(tmp_path / "plan.json", states(2))
    (hold,) = watch.poll(0.0, 0.0).states["agents"].holds
    assert watch.has_unknown_holds and watch.held.keeps("agents", hold.before.phase, BOB)

    held_units.write(tmp_path / "plan.held", HELD)
    watch.poll(0.0, 0.1)
    assert not watch.has_unknown_holds and not watch.held.keeps("agents", hold.before.phase, BOB)
    assert watch.poll(0.0, STALE_AFTER_S + 0.1).states["agents"].holds == ()


def test_a_file_that_is_missing_or_damaged_changes_nothing(tmp_path: Path) -> None:
    watch = StatesWatch(tmp_path / "plan.json")
    write(tmp_path / "plan.json", states(2))
    watch.poll(0.0, 0.0)
    assert watch.held.keeps("agents", 1, BOB)
    held_units.write(tmp_path / "plan.held", HELD)
    watch.poll(0.0, 0.1)
    assert watch.held == held_units.read(tmp_path / "plan.held") == HELD
    (tmp_path / "plan.held").write_bytes(b"no such thing")
    watch.poll(0.0, 0.2)
    assert watch.held == HELD
