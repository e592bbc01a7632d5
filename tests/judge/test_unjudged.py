"""Which captures wait for a judge, in either database."""

from dataclasses import replace
from typing import Any

import pytest

from judge.judgements import JudgedExchange, Judgements
from judge.runs.due import unjudged
from judge.terms import Kind
from records.store import Store
from records.store.captures import CaptureStore
from tests.records.test_capture_store import NOW, a_capture

JUDGED = JudgedExchange(
    exchange_id="done",
    canary="support",
    run=1,
    kind="pair",
    unit="u",
    category="",
    at=NOW,
    asked_at=NOW,
    judge="openai/judge",
    words_sha256="0" * 64,
)


def add(store: Store, name: str, *, copy: dict[str, Any] | None = None, **about: Any) -> None:
    """A real exchange, with its copy unless that is None."""
    captures = [a_capture(name, **about)]
    if copy is not None:
        captures.append(a_capture(f"{name}-copy", **{"copy_of": name, "arm": "candidate", **copy}))
    CaptureStore(store).add(captures, now=NOW)


def waiting(store: Store, kind: Kind, each: int = 9) -> list[tuple[str, str, str]]:
    found = unjudged(store, "support", 1, kind, each=each, now=NOW)
    return [(each.exchange_id, each.category, each.arm) for each in found]


def begin(store: Store, exchange_id: str) -> int:
    judged = replace(JUDGED, exchange_id=exchange_id, kind="answer", arm="baseline")
    return Judgements(store).begin(judged, {1: 0.1}, budget_usd=9.0, expires_at=NOW + 9)[1]


def test_pairs_wait_when_both_answers_are_whole_and_each_its_own_arms(store: Store) -> None:
    add(store, "good", copy={"served_by": "candidate"}, served_by="baseline", category="refund")
    add(store, "later", copy={}, at=NOW - 5, category="refund")
    add(store, "no-copy")
    add(store, "cut", copy={}, truncated=True)
    add(store, "copy-cut", copy={"truncated": True})
    add(store, "other-run", copy={}, run=2)
    add(store, "other-canary", copy={}, canary="sales")
    assert waiting(store, "pair") == [("later", "refund", ""), ("good", "refund", "")]


def test_answers_wait_of_both_arms_but_none_that_another_arm_gave(store: Store) -> None:
    add(store, "b", served_by="baseline", copy={})
    add(store, "c", arm="candidate", served_by="candidate", at=NOW - 5)
    add(store, "fallback", arm="candidate", served_by="baseline")
    assert waiting(store, "answer") == [("c", "", "candidate"), ("b", "", "baseline")]


def test_what_is_judged_or_being_judged_waits_no_more_and_what_was_refused_does(store: Store) -> None:
    for name in ("done", "asked", "failed", "new"):
        add(store, name)
    judgements = Judgements(store)
    judgements.answered(begin(store, "done"), said="3", reason="", cost_usd=0.1)
    begin(store, "asked")
    judgements.failed(begin(store, "failed"))
    assert {name for name, _, _ in waiting(store, "answer")} == {"failed", "new"}


@pytest.mark.parametrize("each", [1, 2])
def test_a_common_category_hides_no_rare_one(store: Store, each: int) -> None:
    add(store, "rare", at=NOW - 900, category="rare")
    for number in range(5):
        add(store, f"common-{number}", at=NOW - number, category="common")
    expected = [*(f"common-{number}" for number in range(each)), "rare"]
    assert [name for name, _, _ in waiting(store, "answer", each)] == expected
