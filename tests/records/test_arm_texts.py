"""The texts of arms in the store: whose stay, and until when."""

from records.facts.standing import BegunTrial, PromotedBaseline, Standing
from records.store import Act, Store
from records.store.arm_texts import ArmTextsInStore
from records.store.baselines import replace_standing
from routing.states import State, StateName

ARM = {"provider": "openai", "model": "bot"}


def stored(store: Store, canary: str, state: StateName, at: float) -> None:
    ArmTextsInStore(store).keep(canary, canary, {"v8.md": f"The text of {canary}."})
    after = State(state=state, definition=canary, changed_at=at)
    store.swap(canary, 0, after, Act(at=at, action="end", who="ann", reason=""))


def test_texts_go_with_the_records_of_a_canary_that_nobody_refers_to(store: Store) -> None:
    texts = ArmTextsInStore(store)
    for canary, state, at in (
        ("runs", "running", 1.0),
        ("rolled-back", "rolled_back", 1.0),
        ("just-ended", "ended", 99.0),
        ("ended", "ended", 1.0),
        ("baseline", "ended", 1.0),
        ("before", "ended", 1.0),
        ("trial", "ended", 1.0),
    ):
        stored(store, canary, state, at)  # type: ignore[arg-type]
    known = Standing(
        history=[
            PromotedBaseline(arm=ARM, canary=each, run=1, at=1.0, who="ann")
            for each in ("before", "baseline")
        ],
        trials={"trial": BegunTrial(baseline=ARM, candidate=ARM, at=1.0, who="ann")},
    )
    with store.writing() as connection:
        assert replace_standing(connection, "support", 0, known)
    assert texts.expire(50.0) == 2
    assert texts.started().by_canary.keys() == {"runs", "rolled-back", "just-ended", "baseline", "trial"}
    assert texts.expire(50.0) == 0
