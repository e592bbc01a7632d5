"""Which pair a person labels next, what is taken back, and how far the labels have come."""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from control.operator import labels
from control.operator.labels import SITTING_S, PairToLabel, PairWanted
from control.operator.orders import BadOrder
from judge.figures import with_people
from judge.judgements import JudgedExchange, Judgements, place
from records.captures.capture import CapturedMessage
from records.store import Store
from records.store.captures import CaptureStore, Label, Labels, Right
from tests.records.conftest import SQLITE
from tests.records.test_capture_store import NOW, a_capture
from verdict.decision.reports import judging_of

RUN = 2


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with closing(Store.open(SQLITE, tmp_path)) as opened:
        yield opened


@pytest.fixture
def pairs(store: Store) -> Sequence[str]:
    """Six pairs, by time, of two categories."""
    names = [f"e{number}" for number in range(6)]
    for number, name in enumerate(names):
        about = {"at": NOW - 600 + number, "category": "refund" if number % 2 else "order"}
        real = a_capture(name, **about)
        copy = a_capture(f"copy of {name}", copy_of=name, arm="candidate", answer="Red.", **about)
        CaptureStore(store).add([real, copy], now=NOW)
    CaptureStore(store).add([a_capture("alone", at=NOW - 900)], now=NOW)
    return names


def judge(store: Store, pair: str, *said: str, run: int = RUN, **of: Any) -> None:
    """The judge's words in both orders: ("B", "A") for the candidate."""
    judged = JudgedExchange(
        exchange_id=pair,
        canary="support",
        run=run,
        kind="pair",
        unit="u",
        category="",
        at=NOW,
        asked_at=NOW,
        judge="anthropic/claude-opus-5",
        words_sha256="0" * 64,
    )
    judged = dataclasses.replace(judged, **of)
    judgements = Judgements(store)
    calls = judgements.begin(judged, {1: 0.1, 2: 0.1}, budget_usd=9.0, expires_at=NOW + 100)
    for call, word in zip(calls.values(), said, strict=True):
        judgements.answered(call, said=word, reason="", cost_usd=0.0)


def label(
    store: Store, pair: str, who: str, right: Right = "both", *, at: float = NOW, disagreements: bool = False
) -> None:
    given = Label(at=at, canary="support", exchange_id=pair, right=right, who=who)
    labels.keep(store, given, run=RUN, disagreements=disagreements)


def found(store: Store, who: str = "", *, now: float = NOW, **wanted: Any) -> PairToLabel:
    return labels.next_pair(store, "support", RUN, PairWanted(who=who, **wanted), now=now)


def shown(store: Store, who: str = "", **wanted: Any) -> str:
    pair = found(store, who, **wanted).pair
    return pair[0].about.exchange_id if pair is not None else ""


def in_turn(store: Store, who: str, **wanted: Any) -> list[str]:
    """All pairs that a person is asked, who labels each."""
    asked: list[str] = []
    while pair := shown(store, who, **wanted):
        asked.append(pair)
        label(store, pair, who)
    return asked


ORDER = ["e5", "e4", "e0", "e1", "e2", "e3"]
"""The pairs in the random order that their ids give them."""


def test_pairs_come_in_an_order_that_says_nothing_of_them(store: Store, pairs: Sequence[str]) -> None:
    assert sorted(pairs, key=place) == ORDER
    assert in_turn(store, "ann") == ORDER
    assert found(store, "ann").pair is None


def test_pairs_that_the_judge_marked_in_this_run_come_first(store: Store, pairs: Sequence[str]) -> None:
    judge(store, "e3", "B", "A")
    judge(store, "e1", "SAME", "SAME")
    judge(store, "e2", "A", "")  # not readable
    judge(store, "e5", "A", "B", run=RUN - 1)
    assert in_turn(store, "ann") == ["e1", "e3", "e5", "e4", "e0", "e2"]


def test_each_person_is_asked_what_they_have_not_labelled_and_first_what_nobody_has(
    store: Store, pairs: Sequence[str]
) -> None:
    label(store, "e0", "ann")
    label(store, "e1", "ann")
    assert shown(store) == shown(store, "ann") == "e5"
    assert in_turn(store, "ben") == ["e5", "e4", "e2", "e3", "e0", "e1"]


def test_a_second_opinion_is_asked_of_what_another_person_labelled(
    store: Store, pairs: Sequence[str]
) -> None:
    for pair in ("e1", "e4"):
        label(store, pair, "ann")
    assert in_turn(store, "ben", second=True) == ["e4", "e1"]
    assert shown(store, "ann", second=True) == shown(store, second=True) == ""


def test_only_one_category_is_asked(store: Store, pairs: Sequence[str]) -> None:
    assert in_turn(store, "ann", category="refund") == ["e5", "e1", "e3"]


def test_disagreements_come_first_when_asked_for(store: Store, pairs: Sequence[str]) -> None:
    judge(store, "e1", "B", "A")
    judge(store, "e2", "B", "A")
    judge(store, "e3", "A", "B")
    judge(store, "e4", "A", "A")  # its order decided
    judge(store, "e5", "SAME", "SAME")
    for pair, right in (("e1", "candidate"), ("e2", "unclear"), ("e3", "candidate"), ("e5", "neither")):
        label(store, pair, "ann", right)  # type: ignore[arg-type]
    assert in_turn(store, "ben", disagreements=True)[:3] == ["e4", "e3", "e5"]


def test_what_a_disagreement_asked_for_does_not_measure_the_judge(store: Store, pairs: Sequence[str]) -> None:
    judge(store, "e1", "A", "A")
    judge(store, "e2", "A", "B")
    label(store, "e1", "ann", disagreements=True)
    label(store, "e2", "ann", disagreements=True)
    assert [each.chosen for each in Labels(store).given("support")] == ["disagreement", ""]
    counted = found(store, "ann").progress
    assert (counted.labelled, counted.judged, counted.on_judged) == (2, 2, 1)


def test_after_a_change_of_judge_the_page_counts_and_orders_what_the_report_counts(
    store: Store, pairs: Sequence[str]
) -> None:
    judge(store, "e1", "B", "A")
    judge(store, "e2", "A", "A")
    for pair in ("e1", "e2", "e4"):
        label(store, pair, "ann", "baseline")
    assert found(store, "ben").progress.on_judged == 2
    judge(store, "e4", "B", "A", words_sha256="1" * 64, asked_at=NOW + 1)
    judge(store, "e5", "B", "A", words_sha256="1" * 64, asked_at=NOW + 2)
    progress = found(store, "ben").progress
    judging = judging_of(store, "support", RUN)
    assert (progress.judged, progress.on_judged) == (2, 1)
    assert (len(judging.of("pair")), with_people(judging).labels) == (2, 1)
    assert in_turn(store, "ben", disagreements=True) == ["e4", "e5", "e0", "e3", "e1", "e2"]
    assert in_turn(store, "cleo") == ["e5", "e4", "e0", "e1", "e2", "e3"]


def test_two_people_agree_on_candidate_baseline_or_tie(store: Store, pairs: Sequence[str]) -> None:
    labels: list[tuple[str, Right, Right]] = [
        ("e0", "both", "neither"),
        ("e1", "candidate", "candidate"),
        ("e2", "candidate", "baseline"),
        ("e3", "unclear", "candidate"),
    ]
    for pair, first, second in labels:
        label(store, pair, "ann", first)
        label(store, pair, "ben", second)
    label(store, "e2", "cleo", "candidate")  # a third opinion
    label(store, "e4", "ann")
    counted = found(store).progress
    assert (counted.labelled, counted.twice, counted.agree) == (5, 3, 2)


def test_the_last_label_is_taken_back_again_and_again_and_its_pair_is_asked_again(
    store: Store, pairs: Sequence[str]
) -> None:
    label(store, "e0", "ann")
    label(store, "e5", "ben")
    label(store, "e3", "ann")
    for last in ("e3", "e0"):
        assert found(store, "ann").last == last
        labels.withdraw(store, "support", last, "ann", now=NOW)
        assert shown(store, "ann", again=last) == last
        assert shown(store, "ann", again=last, category="none such") == last
    assert found(store, "ann").last == ""
    assert [each.exchange_id for each in Labels(store).given("support")] == ["e5"]
    label(store, "e3", "ann")
    assert shown(store, "ann", again="e3") == "e4"  # as with the browser's back button


def test_nobody_takes_back_another_s_label_or_an_old_one(store: Store, pairs: Sequence[str]) -> None:
    label(store, "e0", "ann")
    with pytest.raises(BadOrder, match="this pair has no label of ben"):
        labels.withdraw(store, "support", "e0", "ben", now=NOW)
    late = NOW + SITTING_S
    assert found(store, "ann", now=late).last == ""
    with pytest.raises(BadOrder, match="for 12 hours"):
        labels.withdraw(store, "support", "e0", "ann", now=late)


def test_capitals_and_spaces_make_nobody_a_second_person(store: Store, pairs: Sequence[str]) -> None:
    label(store, "e0", "Ann  Lee")
    label(store, "e0", " ann lee ")
    assert [each.who for each in Labels(store).given("support")] == ["Ann Lee"]
    assert found(store, "ANN LEE").who == "Ann Lee"
    assert found(store, "ANN LEE").last == "e0"


def test_a_pair_that_expired_meanwhile_is_not_labelled(store: Store, pairs: Sequence[str]) -> None:
    with pytest.raises(BadOrder, match="its texts have expired"):
        label(store, "gone", "ann")
    label(store, "e0", "ann")
    CaptureStore(store).expire(NOW + 2 * 86400)
    labels.withdraw(store, "support", "e0", "ann", now=NOW)
    assert shown(store, "ann", again="e0") == ""


def test_a_system_prompt_counts_as_read_after_a_pair_that_had_it(store: Store, pairs: Sequence[str]) -> None:
    other = replace(a_capture("f", at=NOW), messages=(CapturedMessage("system", "Be long."),))
    CaptureStore(store).add([other, a_capture("copy of f", copy_of="f")], now=NOW)
    assert not found(store, "ann").prompt_read
    label(store, "e0", "ann")
    assert found(store, "ann", again="e1").prompt_read
    assert not found(store, "ben", again="e1").prompt_read
    assert not found(store, "ann", again="f").prompt_read
    label(store, "f", "ann")
    assert found(store, "ann", again="f").prompt_read
