"""What a judge said of a run's pairs, in either database."""

from dataclasses import replace
from typing import Any

import pytest

from judge.judgements import JudgedPairs, Judgements, RunJudgements, judged_pairs
from records.store import Store
from records.store.captures import Label, Right
from tests.judge.test_judgements import ANSWER, BOTH, NOON, PAIR


def _judged(store: Store, pair: str, *said: str, run: int = 1, **of: Any) -> None:
    judgements = Judgements(store)
    begun = replace(PAIR, exchange_id=pair, run=run, **of)
    calls = judgements.begin(begun, BOTH, budget_usd=99.0, expires_at=NOON)
    for call, word in zip(calls.values(), said, strict=False):
        judgements.answered(call, said=word, reason="", cost_usd=0.0)


def test_pairs_with_a_winner_and_ties_are_known_and_which_the_order_decided(store: Store) -> None:
    said = {"c": "BA", "b": "AB", "order": "AA", "other order": "BB", "half": ("SAME", "A")}
    for pair, words in said.items():
        _judged(store, pair, *words)
    _judged(store, "same", "SAME", "SAME")
    _judged(store, "unreadable", "A", "")
    _judged(store, "waiting", "A")
    _judged(store, "earlier run", "A", "A", run=2)
    Judgements(store).begin(ANSWER, {1: 0.1}, budget_usd=99.0, expires_at=NOON)
    found = judged_pairs(store, "trial", 1)
    ties = dict.fromkeys(("order", "other order", "half", "same"), "tie")
    assert found.better == {"c": "candidate", "b": "baseline", **ties}
    assert found.by_order == {"order", "other order"}
    assert judged_pairs(store, "other", 1) == JudgedPairs(better={})


@pytest.mark.parametrize("changed", [{"judge": "openai/gpt-5"}, {"words_sha256": "1" * 64}])
def test_after_a_change_of_judge_or_words_only_the_newest_that_ended_counts(
    store: Store, changed: dict[str, str]
) -> None:
    _judged(store, "old", "B", "A")
    _judged(store, "old order", "A", "A")
    _judged(store, "in flight", "A", asked_at=NOON + 10, **changed)
    assert judged_pairs(store, "trial", 1).better == {"old": "candidate", "old order": "tie"}
    _judged(store, "new", "A", "B", asked_at=NOON + 20, **changed)
    _judged(store, "earlier new", "B", "B", asked_at=NOON - 20, **changed)
    _judged(store, "another run", "A", "B", run=2, asked_at=NOON + 30)
    _judged_answer_of_the_old(store)
    found = judged_pairs(store, "trial", 1)
    assert found.better == {"new": "baseline", "earlier new": "tie"}
    assert found.by_order == {"earlier new"}
    report = RunJudgements(exchanges=Judgements(store).of("trial", 1)).of("pair")
    assert {each.exchange_id for each in report} == set(found.better)


def _judged_answer_of_the_old(store: Store) -> None:
    """Another kind has a newest judge of its own."""
    begun = replace(ANSWER, asked_at=NOON + 40)
    (call,) = Judgements(store).begin(begun, {1: 0.1}, budget_usd=99.0, expires_at=NOON).values()
    Judgements(store).answered(call, said="3", reason="", cost_usd=0.0)


@pytest.mark.parametrize(
    ("pair", "right", "disputed"),
    [
        ("c", "candidate", False),
        ("c", "both", True),
        ("c", "unclear", False),
        ("tie", "neither", False),
        ("order", "both", True),
        ("not judged", "both", False),
    ],
)
def test_a_pair_is_disputed_where_the_judge_and_a_person_differ_or_its_order_decided(
    pair: str, right: Right, disputed: bool
) -> None:
    judged = JudgedPairs(
        better={"c": "candidate", "tie": "tie", "order": "tie"}, by_order=frozenset({"order"})
    )
    label = Label(at=1.0, canary="trial", exchange_id=pair, right=right, who="ann")
    assert judged.disputed(pair, [label]) is disputed
    assert judged.disputed("order", []) is True
