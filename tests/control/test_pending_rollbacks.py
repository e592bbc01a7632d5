"""Rollbacks that the store does not know of yet: what their file holds, and what they do to a state."""

from pathlib import Path

import pytest

from control.states.rollouts import PendingRollback, PendingRollbacks
from records.store import Act
from routing.states import State, StateName

RUNNING = State(state="running", share=0.2, run=2, phase=3)
ACT = Act(at=1000.0, action="rollback", who="guardrail error_rate", reason="bad answers")


def test_what_was_put_is_there_for_the_next_process_until_it_is_settled(tmp_path: Path) -> None:
    file = tmp_path / "rollbacks.json"
    PendingRollbacks(file).put("trial", PendingRollback(2, ACT))
    ((name, pulled),) = again = PendingRollbacks(file)
    assert again and (name, pulled) == ("trial", PendingRollback(2, ACT))
    again.settled(name, pulled)
    assert not again and not PendingRollbacks(file)


def test_settling_one_leaves_a_later_one_of_the_same_canary(tmp_path: Path) -> None:
    pulled = PendingRollbacks(tmp_path / "rollbacks.json")
    first, later = PendingRollback(2, ACT), PendingRollback(3, ACT)
    pulled.put("trial", first)
    pulled.put("trial", later)
    pulled.settled("trial", first)
    assert list(pulled) == [("trial", later)]


def test_a_disk_that_takes_nothing_keeps_no_rollback_from_being_in_force(tmp_path: Path) -> None:
    pulled = PendingRollbacks(tmp_path / "no-such-folder" / "rollbacks.json")
    pulled.put("trial", PendingRollback(2, ACT))
    assert pulled.over("trial", RUNNING).effective_share == 0.0


def test_a_file_that_cannot_be_read_is_no_reason_not_to_start(tmp_path: Path) -> None:
    file = tmp_path / "rollbacks.json"
    file.write_text("{")
    assert not PendingRollbacks(file)


def test_the_state_under_a_rollback_is_the_one_that_is_stored_later() -> None:
    state = PendingRollback(2, ACT).over(RUNNING)
    assert (state.state, state.share, state.reason) == ("rolled_back", 0.0, "bad answers")
    assert (state.phase, state.changed_at) == (4, 1000.0)
    assert PendingRollback(2, ACT).over(state) == state


@pytest.mark.parametrize("state", ["waiting", "ended", "rolled_back"])
def test_a_state_that_has_no_way_there_stays(state: StateName) -> None:
    held = State(state=state, run=2)
    assert PendingRollback(2, ACT).over(held) == held


def test_another_run_is_not_pulled_back() -> None:
    assert PendingRollback(1, ACT).over(RUNNING) == RUNNING
