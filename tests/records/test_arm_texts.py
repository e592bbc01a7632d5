"""The texts of arms in the store: whose stay, and until when."""

from dataclasses import replace

from records.facts.standing import BegunTrial, PromotedBaseline, Standing, Withdrawal
from records.store import Act, Store
from records.store.arm_texts import ArmTextsInStore
from records.store.baselines import replace_standing, standings_in
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


def with_text(text: str) -> dict[str, object]:
    return {
        **ARM,
        "prompt": {each: {"file": f"{each}.md", "text": text} for each in ("find", "put")},
        "tools": {"get_order": {"file": "order.md", "text": text}},
    }


def test_a_standing_canary_forgets_the_texts_that_nobody_can_go_back_to(store: Store) -> None:
    gone = BegunTrial(baseline=ARM, candidate=with_text("tried"), at=1.0, who="ann", left_at=2.0)
    promoted = PromotedBaseline(arm=with_text("baseline"), canary="first", run=1, at=1.0, who="ann")
    began = replace(gone, baseline=with_text("before the first promotion"))
    known = Standing(
        history=[
            promoted,
            replace(promoted, withdrawn=Withdrawal(at=3.0, who="ann", reason="worse")),
            replace(promoted, canary="in-force"),
        ],
        trials={
            "first": began,
            "gone": gone,
            "just-gone": replace(gone, left_at=99.0),
            "there": replace(gone, left_at=None),
        },
    )
    with store.writing() as connection:
        assert replace_standing(connection, "support", 0, known)
    ArmTextsInStore(store).expire(50.0)
    ArmTextsInStore(store).expire(50.0)
    named = {**ARM, "prompt": {"find": "find.md", "put": "put.md"}, "tools": {"get_order": "order.md"}}
    with store.asking() as connection:
        version, after = standings_in(connection)["support"]
    assert version == 2, "it was changed once"
    assert after == replace(
        known,
        history=[known.history[0], replace(known.history[1], arm=named), known.history[2]],
        trials={
            **known.trials,
            "first": replace(began, candidate=named),  # a revert reaches its baseline
            "gone": replace(gone, candidate=named),
        },
    )
