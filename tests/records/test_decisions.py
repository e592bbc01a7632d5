"""What people decide, kept in either database: in order, audited, and never changed."""

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.store import Store
from records.store.decisions import Decision, Decisions
from routing.states import State

STATE = State(state="paused", share=0.1, run=2)


def _decided(store: Store, at: float, **changes: object) -> Decision:
    told: dict[str, object] = {"decision": "ship", "who": "ann", "reason": "cheaper", **changes}
    decision = Decision(at=at, canary="trial", run=2, **told)  # type: ignore[arg-type]
    Decisions(store).record(decision, STATE)
    return decision


def test_the_newest_decision_of_a_run_is_found(store: Store) -> None:
    _decided(store, 1.0, decision="extend")
    newest = _decided(store, 2.0, despite=[{"name": "csat", "low": 3.8, "estimate": 3.9, "high": None}])
    assert Decisions(store).latest("trial", 2) == newest
    assert Decisions(store).latest("trial", None) == newest
    assert Decisions(store).latest("trial", 1) is None
    assert Decisions(store).latest("other", None) is None


def test_a_decision_stands_in_the_audit_log_and_moves_no_state(store: Store) -> None:
    _decided(store, 2.0, despite=[{"name": "csat"}, {"name": "category:refund"}])
    (entry,) = store.audit()
    assert (entry.act.action, entry.act.who) == ("decide", "ann")
    assert entry.act.reason == "ship: cheaper (despite csat, category:refund)"
    assert entry.before == entry.after == STATE
    assert store.states() == {}


@pytest.mark.parametrize("change", ["DELETE FROM decisions", "UPDATE decisions SET who = 'bob'"])
def test_a_decision_can_neither_be_changed_nor_deleted(store: Store, change: str) -> None:
    decision = _decided(store, 1.0)
    with pytest.raises(Unstorable, match="decisions is append-only"), store.writing() as connection:
        connection.execute(text(change))
    assert Decisions(store).latest("trial", 2) == decision
