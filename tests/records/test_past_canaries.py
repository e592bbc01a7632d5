"""How a canary ended is read from the audit log, in either database, whatever its last state says."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from records.store import Act, Store
from records.store.releases import PastCanary, Releases, past_canaries
from routing import transitions
from routing.canary import Step
from routing.states import State

STEPS = (Step(share=0.05),)
Change = Callable[[State], State]
CHANGES: dict[str, Change] = {
    "ramp": lambda state: transitions.set_share(state, STEPS, share=0.5, now=0.0),
    "rollback": lambda state: transitions.rollback(state, reason="wrong", now=0.0),
    "resume": lambda state: transitions.resume(state, STEPS, reason="mended", now=0.0),
    "promote": lambda state: transitions.promote(state, reason="won", now=0.0),
    "end": lambda state: replace(transitions.end(state, reason="gone", now=0.0), changed_at=9.0),
}


def lived(store: Store, *actions: str, name: str = "trial", state: State | None = None) -> PastCanary:
    """The canary after these changes, the first at 1 s, each by a person named after it."""
    state = state or transitions.first_seen(STEPS, by_hand=False, now=0.0)
    assert store.swap(name, 0, state, Act(at=0.0, action="first seen", who="config", reason=""))
    for version, action in enumerate(actions, 1):
        state = CHANGES[action](state)
        act = Act(at=float(version), action=action, who=f"who of {version}", reason=action)
        assert store.swap(name, version, state, act)
    (found,) = past_canaries(store, {name: store.states()[name].state})
    return found


def test_a_rolled_back_canary_stays_rolled_back_after_its_end(store: Store) -> None:
    Releases(store).enter_run("trial", 1, "o/new", "o/old", at=1.0)
    found = lived(store, "ramp", "rollback", "end")
    assert (found.ending, found.run, found.rolled_back) == ("rolled_back", 1, (1,))
    assert found.by == Act(at=2.0, action="rollback", who="who of 2", reason="rollback")
    (release,) = Releases(store).all()
    assert (found.left_at, found.release) == (9.0, release)


def test_the_last_run_counts_and_earlier_rollbacks_are_told(store: Store) -> None:
    found = lived(store, "rollback", "resume", "rollback", "resume", "promote", "end")
    assert (found.ending, found.run, found.rolled_back) == ("promoted", 3, (1, 2))
    assert found.by is not None
    assert found.by.who == "who of 5"


def test_a_promotion_that_was_rolled_back_is_a_rollback(store: Store) -> None:
    found = lived(store, "promote", "rollback", "end")
    assert (found.ending, found.by and found.by.who) == ("rolled_back", "who of 2")


def test_a_canary_that_was_only_removed_says_at_which_share(store: Store) -> None:
    found = lived(store, "ramp", "end")
    assert (found.ending, found.was, found.share, found.rolled_back) == ("ended", "running", 0.5, ())
    assert found.release is None
    waiting = lived(store, "end", name="never", state=State())
    assert (waiting.ending, waiting.was) == ("ended", "waiting")


@pytest.mark.parametrize(("actions", "ending"), [(("rollback",), "rolled_back"), ((), "ended")])
def test_a_canary_that_has_left_and_is_not_ended_yet_has_no_day_of_leaving(
    store: Store, actions: tuple[str, ...], ending: str
) -> None:
    found = lived(store, *actions)
    assert (found.ending, found.left_at) == (ending, None)


def test_several_come_in_the_order_asked_for_and_do_not_mix(store: Store) -> None:
    lived(store, "rollback", "end", name="one")
    lived(store, "promote", "end", name="two")
    states = {name: each.state for name, each in store.states().items()}
    found = past_canaries(store, {"two": states["two"], "one": states["one"]})
    assert [(each.name, each.ending) for each in found] == [("two", "promoted"), ("one", "rolled_back")]
    assert past_canaries(store, {}) == []


def test_the_audit_log_of_one_canary_has_only_its_own_entries(store: Store) -> None:
    lived(store, "rollback", name="one")
    lived(store, "promote", name="two")
    assert [entry.act.action for entry in store.audit(10, "one")] == ["rollback", "first seen"]
    assert len(store.audit(10)) == 4
