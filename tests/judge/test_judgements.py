"""What a judge said, kept in either database: nothing is asked twice, and the budget holds."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from judge.judgements import LOST_AFTER_S, BudgetSpent, JudgedExchange, Judgements, result_of
from records.store import Store
from records.store.captures import CaptureStore
from tests.records.test_capture_store import a_capture

NOON = 20_000 * 86400.0 + 43_200
PAIR = JudgedExchange(
    exchange_id="e1",
    canary="trial",
    run=1,
    kind="pair",
    unit="u1",
    category="refund",
    at=NOON - 5,
    asked_at=NOON,
    judge="anthropic/claude-opus-5",
    words_sha256="0" * 64,
    baseline="openai/a",
    candidate="openai/b",
    baseline_length=10,
    candidate_length=20,
)
ANSWER = replace(PAIR, exchange_id="e2", kind="answer", arm="candidate", baseline="", baseline_length=None)
BOTH = {1: 0.25, 2: 0.25}


def _begun(store: Store, judged: JudgedExchange, reserves: Mapping[int, float] = BOTH) -> Mapping[int, int]:
    return Judgements(store).begin(judged, reserves, budget_usd=1.0, expires_at=NOON + 100)


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        ("A", "B", "baseline"),
        ("B", "A", "candidate"),
        ("A", "A", "tie"),
        ("B", "B", "tie"),
        ("SAME", "SAME", "tie"),
        ("A", "SAME", "tie"),
        ("SAME", "A", "tie"),
        ("A", "", "no_mark"),
    ],
)
def test_the_same_answer_in_both_orders_wins(first: str, second: str, result: str) -> None:
    assert result_of("pair", {1: first, 2: second}) == result


def test_a_pair_is_asked_about_twice_and_then_never_again(store: Store) -> None:
    judgements = Judgements(store)
    calls = _begun(store, PAIR)
    assert _begun(store, PAIR) == {}
    judgements.answered(calls[1], said="B", reason="It names the rule.", cost_usd=0.1)
    assert [each.result for each in judgements.of("trial")] == [""]
    judgements.answered(calls[2], said="A", reason="", cost_usd=None)
    [found] = judgements.of("trial", 1)
    assert (found.result, found.preference, found.order_decided) == ("candidate", 1.0, False)
    assert found.cost_usd == pytest.approx(0.35)
    assert judgements.spent(NOON) == pytest.approx(0.35)
    assert _begun(store, PAIR) == {}
    assert judgements.begun("trial", 1, "pair", now=NOON) == {("refund", ""): 1}
    assert judgements.begun("trial", 1, "pair", now=NOON + 86400) == {("refund", ""): 0}
    assert judgements.begun("trial", 1, "answer", now=NOON) == {}
    assert judgements.of("trial", 2) == []


def test_both_turns_of_a_pair_may_end_at_the_same_moment(store: Store) -> None:
    judgements, together = Judgements(store), Barrier(2)

    def answer(call: int) -> None:
        together.wait(60)
        judgements.answered(call, said="SAME", reason="", cost_usd=0.001)

    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            calls = _begun(store, replace(PAIR, exchange_id=f"pair-{number}"), {1: 0.01, 2: 0.01})
            list(pool.map(answer, calls.values()))
    assert [each.result for each in judgements.of("trial")] == ["tie"] * 20


def test_an_answer_has_a_mark_or_none(store: Store) -> None:
    judgements = Judgements(store)
    other = replace(ANSWER, exchange_id="e3")
    for judged, said in ((ANSWER, "4"), (other, "")):
        judgements.answered(_begun(store, judged, {1: 0.1})[1], said=said, reason="", cost_usd=0.05)
    found = {each.exchange_id: (each.result, each.mark) for each in judgements.of("trial")}
    assert found == {"e2": ("mark", 4.0), "e3": ("no_mark", None)}


def test_a_call_that_the_provider_refused_costs_nothing_and_may_be_made_again(store: Store) -> None:
    judgements = Judgements(store)
    calls = _begun(store, PAIR)
    judgements.answered(calls[1], said="A", reason="", cost_usd=0.1)
    judgements.failed(calls[2])
    assert judgements.spent(NOON) == pytest.approx(0.1)
    again = _begun(store, PAIR)
    assert list(again) == [2]
    judgements.answered(again[2], said="A", reason="", cost_usd=0.1)
    [found] = judgements.of("trial")
    assert (found.result, found.order_decided) == ("tie", True)


def test_what_was_only_refused_is_judged_by_whom_and_when_it_is_asked_about_again(store: Store) -> None:
    judgements = Judgements(store)
    for call in _begun(store, PAIR).values():
        judgements.failed(call)
    other = replace(PAIR, judge="openai/gpt-5", words_sha256="1" * 64, asked_at=NOON + 86_400)
    for call in _begun(store, other).values():
        judgements.answered(call, said="SAME", reason="", cost_usd=0.1)
    [found] = judgements.of("trial")
    assert replace(found, calls=(), result="") == other
    assert judgements.begun("trial", 1, "pair", now=NOON + 86_400) == {("refund", ""): 1}
    assert judgements.ended("trial", 1, "pair", since=NOON + 43_200) == 1


def test_a_call_whose_answer_a_crash_lost_counts_as_paid_and_is_not_made_again(store: Store) -> None:
    judgements = Judgements(store)
    calls = _begun(store, PAIR)
    judgements.answered(calls[1], said="A", reason="", cost_usd=0.1)
    later = NOON + LOST_AFTER_S + 1
    judgements.give_up(later)
    assert _begun(store, replace(PAIR, asked_at=later)) == {}
    [found] = judgements.of("trial")
    assert (found.result, found.order_decided) == ("no_mark", None)
    assert judgements.spent(NOON) == pytest.approx(0.35)


def test_a_call_that_may_have_been_paid_is_not_made_again(store: Store) -> None:
    judgements = Judgements(store)
    judgements.lost(_begun(store, ANSWER, {1: 0.1})[1])
    assert [each.result for each in judgements.of("trial")] == ["no_mark"]
    assert judgements.spent(NOON) == pytest.approx(0.1)


def test_many_who_ask_at_once_keep_one_days_budget(store: Store) -> None:
    def ask(number: int) -> None:
        with suppress(BudgetSpent):
            _begun(store, replace(PAIR, exchange_id=f"many-{number}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(12)))
    judgements = Judgements(store)
    assert judgements.spent(NOON) == pytest.approx(1.0)
    assert len(judgements.of("trial")) == 2
    with pytest.raises(BudgetSpent):
        _begun(store, ANSWER, {1: 0.01})
    assert _begun(store, replace(ANSWER, asked_at=NOON + 86400), {1: 0.01})


def test_a_reason_expires_and_the_judgement_stays(store: Store) -> None:
    judgements = Judgements(store)
    judgements.answered(_begun(store, ANSWER, {1: 0.1})[1], said="2", reason="Rude.", cost_usd=0.1)
    CaptureStore(store).expire(NOON + 99)
    assert judgements.of("trial")[0].calls[0].reason == "Rude."
    CaptureStore(store).expire(NOON + 100)
    [found] = judgements.of("trial")
    assert (found.calls[0].reason, found.mark) == ("", 2.0)


def test_a_judgement_goes_after_the_retention_but_not_before_its_text(store: Store) -> None:
    judgements = Judgements(store)
    CaptureStore(store).add([a_capture("e1", expires_at=NOON + 200 * 86400)], now=NOON)
    for name in ("e1", "e3"):
        _begun(store, replace(PAIR, exchange_id=name), {1: 0.1})
    store.expire(NOON - 6)
    assert [each.exchange_id for each in judgements.of("trial")] == ["e1", "e3"]
    store.expire(NOON)
    assert [each.exchange_id for each in judgements.of("trial")] == ["e1"]
    assert judgements.spent(NOON) == pytest.approx(0.2)  # of this day
    store.expire(NOON + 86400)
    assert judgements.spent(NOON) == pytest.approx(0.1)
    assert _begun(store, PAIR, {1: 0.1}) == {}


def test_a_call_without_an_answer_may_outlive_its_judgement(store: Store) -> None:
    judgements = Judgements(store)
    _begun(store, PAIR, {1: 0.1})
    store.expire(NOON)
    judgements.give_up(NOON + LOST_AFTER_S + 1)
    assert judgements.of("trial") == []
    assert judgements.spent(NOON) == pytest.approx(0.1)


def test_what_sqlite_blanks_is_overwritten(sqlite_store: Store, tmp_path: Path) -> None:
    judgements = Judgements(sqlite_store)
    for number in range(20):
        judged = replace(ANSWER, exchange_id=f"e{number}")
        call = judgements.begin(judged, {1: 0.01}, budget_usd=1.0, expires_at=NOON + 100)[1]
        judgements.answered(call, said="2", reason="the quick brown fox " * 15, cost_usd=0.01)
    CaptureStore(sqlite_store).expire(NOON + 100)
    sqlite_store.close()
    assert b"brown fox" not in b"".join(path.read_bytes() for path in tmp_path.glob("canary.db*"))


def test_the_judgements_of_some_exchanges_are_read_with_their_calls(store: Store) -> None:
    judgements = Judgements(store)
    calls = _begun(store, PAIR)
    _begun(store, replace(PAIR, exchange_id="e3", asked_at=NOON - 86_400))
    judgements.answered(calls[1], said="B", reason="It names the rule.", cost_usd=0.1)
    found = judgements.about(["e1", "e9"])
    assert [call.reason for call in found["e1"].calls] == ["It names the rule.", ""]
    assert set(found) == {"e1"}


def test_a_day_counts_what_was_judged_and_not_what_was_only_asked(store: Store) -> None:
    judgements, day = Judgements(store), NOON - 43_200
    for name, asked_at in (("judged", NOON), ("yesterday", day - 1), ("unreadable", NOON)):
        calls = _begun(store, replace(PAIR, exchange_id=name, asked_at=asked_at), {1: 0.01, 2: 0.01})
        for turn in (1, 2):
            said = "" if name == "unreadable" else "B"
            judgements.answered(calls[turn], said=said, reason="", cost_usd=0.01)
    for call in _begun(store, replace(PAIR, exchange_id="refused"), {1: 0.01, 2: 0.01}).values():
        judgements.failed(call)
    _begun(store, replace(PAIR, exchange_id="in flight"), {1: 0.01, 2: 0.01})
    assert judgements.ended("trial", 1, "pair", since=day) == 2
    assert judgements.ended("trial", 1, "pair", since=0.0) == 3
    assert judgements.ended("trial", 1, "answer", since=0.0) == 0
    assert judgements.ended("trial", 2, "pair", since=0.0) == 0
