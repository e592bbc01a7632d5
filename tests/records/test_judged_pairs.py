"""What a judge said of a run's pairs, in either database."""

from dataclasses import replace

import pytest

from records.judged_pairs import JudgedPairs, judged_pairs
from records.judgements import Judgements
from records.labels import Label, Right
from records.store import Store
from tests.records.test_judgements import ANSWER, BOTH, NOON, PAIR


def _judged(store: Store, pair: str, *said: str, run: int = 1) -> None:
    judgements = Judgements(store)
    begun = replace(PAIR, exchange_id=pair, run=run)
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
